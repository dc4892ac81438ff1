//! Calls about files, directories, sockets and signals: there are none, and they say so.

use wasmtime::{Caller, Linker};

use super::super::host::Host;
use super::{MODULE, errno};

/// Defines calls that answer alike, each with its own parameters.
macro_rules! answer {
    ($linker:ident, $errno:expr, $($name:literal ( $($type:ty),* );)*) => {
        $( $linker.func_wrap(
            MODULE, $name, |_: Caller<'_, Host> $(, _: $type)*| -> i32 { $errno },
        )?; )*
    };
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    // No descriptor but the three streams is open, and none of them is a file or a directory.
    answer! { linker, errno::BADF,
        "fd_advise"(i32, i64, i64, i32);
        "fd_allocate"(i32, i64, i64);
        "fd_datasync"(i32);
        "fd_fdstat_set_rights"(i32, i64, i64);
        "fd_filestat_set_size"(i32, i64);
        "fd_filestat_set_times"(i32, i64, i64, i32);
        "fd_pread"(i32, i32, i32, i64, i32);
        "fd_prestat_dir_name"(i32, i32, i32);
        "fd_prestat_get"(i32, i32);
        "fd_pwrite"(i32, i32, i32, i64, i32);
        "fd_readdir"(i32, i32, i32, i64, i32);
        "fd_renumber"(i32, i32);
        "fd_sync"(i32);
        "path_create_directory"(i32, i32, i32);
        "path_filestat_get"(i32, i32, i32, i32, i32);
        "path_filestat_set_times"(i32, i32, i32, i32, i64, i64, i32);
        "path_link"(i32, i32, i32, i32, i32, i32, i32);
        "path_open"(i32, i32, i32, i32, i32, i64, i64, i32, i32);
        "path_readlink"(i32, i32, i32, i32, i32, i32);
        "path_remove_directory"(i32, i32, i32);
        "path_rename"(i32, i32, i32, i32, i32, i32);
        "path_symlink"(i32, i32, i32, i32, i32);
        "path_unlink_file"(i32, i32, i32);
    }
    answer! { linker, errno::NOTSOCK,
        "sock_accept"(i32, i32, i32);
        "sock_recv"(i32, i32, i32, i32, i32, i32);
        "sock_send"(i32, i32, i32, i32, i32);
        "sock_shutdown"(i32, i32);
    }
    answer! { linker, errno::NOSYS, "proc_raise"(i32); }
    Ok(())
}
