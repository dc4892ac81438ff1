use super::pages::PageBuffer;
use super::*;

const MIB: usize = 1 << 20;

/// Memory like a function's: random pages, pages of zeros, pages that repeat, pages never touched.
fn memory(seed: u64, bytes: usize) -> PageBuffer {
    let mut memory = PageBuffer::new(bytes).unwrap();
    let mut state = seed | 1;
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for page in memory.bytes_mut().chunks_mut(PAGE) {
        match draw() % 4 {
            0 => page.as_chunks_mut::<8>().0.iter_mut().for_each(|w| *w = draw().to_le_bytes()),
            1 => page.fill(b'x'),
            // Touched, and zero.
            2 => page.fill(0),
            _ => {}
        }
    }
    memory
}

fn options(folder: &Path, bytes: usize) -> SwapOptions {
    SwapOptions::new(folder.to_owned(), Bytes64(bytes as u64))
}

#[test]
fn memory_goes_out_and_comes_back_as_it_was_however_it_is_coded() {
    let folder = tempfile::tempdir().unwrap();
    for coding in [Coding::Plain, Coding::Packed, Coding::Sealed, Coding::PackedSealed] {
        let swap = Swap::open(&SwapOptions { coding, ..options(folder.path(), 64 * MIB) }).unwrap();
        let mut memory = memory(7, 8 * MIB + 3 * PAGE);
        let before = memory.bytes().to_vec();
        let region = memory.region();
        let touched = region.touched(swap.pagemap()).unwrap();
        assert!(touched > 4 * MIB && touched < 8 * MIB, "{touched}");
        let mut image = Image::new(&swap);
        assert_eq!(swap.send(&region, &mut image, &|_| true).unwrap(), Sent::All);
        assert_eq!(image.bytes(), touched as u64);
        assert_eq!(region.touched(swap.pagemap()).unwrap(), 0);
        let usage = swap.usage();
        assert!(usage.zeros.0 > 0 && usage.used.0 > 0 && usage.used.0 < usage.held.0, "{usage:?}");
        image.restore(&region, &mut |_| ()).unwrap();
        assert!(memory.bytes() == before, "{coding:?}");
        assert_eq!((swap.usage().used, swap.usage().held), (Bytes64(0), Bytes64(0)));
    }
}

#[test]
fn the_file_has_no_name_and_all_its_room_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let swap = Swap::open(&options(folder.path(), 16 * MIB)).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    use std::os::unix::fs::MetadataExt;
    assert!(swap.file.metadata().unwrap().blocks() * 512 >= 16 << 20);
}

#[test]
fn a_disk_with_too_little_room_shows_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let error = Swap::open(&options(folder.path(), 1 << 50)).unwrap_err();
    let expected = [io::ErrorKind::StorageFull, io::ErrorKind::FileTooLarge];
    assert!(expected.contains(&error.kind()), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn where_swap_is_full_what_is_out_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    for coding in [Coding::Plain, Coding::Sealed] {
        let swap = Swap::open(&SwapOptions { coding, ..options(folder.path(), 2 * MIB) }).unwrap();
        let mut memory = memory(3, 16 * MIB);
        let before = memory.bytes().to_vec();
        let region = memory.region();
        let mut image = Image::new(&swap);
        let error = swap.send(&region, &mut image, &|_| true).unwrap_err();
        assert!(matches!(error, SwapError::Full { .. }), "{error}");
        assert!(image.bytes() > 0);
        image.restore(&region, &mut |_| ()).unwrap();
        assert!(memory.bytes() == before);
        assert_eq!(swap.usage().used, Bytes64(0));
    }
}

#[test]
fn a_write_error_loses_nothing_and_a_read_error_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let swap = Swap::open(&options(folder.path(), 64 * MIB)).unwrap();
    let mut memory = memory(5, 8 * MIB);
    let before = memory.bytes().to_vec();
    let region = memory.region();
    let mut image = Image::new(&swap);
    let pieces = std::cell::Cell::new(0);
    let second_fails = |_| {
        pieces.set(pieces.get() + 1);
        swap.faults.fail_writes(1);
        true
    };
    let error = swap.send(&region, &mut image, &second_fails).unwrap_err();
    assert!(matches!(error, SwapError::Write(_)), "{error}");
    assert!(pieces.get() == 1 && image.bytes() > 0);
    image.restore(&region, &mut |_| ()).unwrap();
    assert!(memory.bytes() == before);

    let mut image = Image::new(&swap);
    swap.send(&region, &mut image, &|_| true).unwrap();
    swap.faults.fail_reads(1);
    assert!(matches!(image.restore(&region, &mut |_| ()), Err(SwapError::Read(_))));
    assert_eq!(swap.usage().used, Bytes64(0));
}

#[test]
fn damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for coding in [Coding::Plain, Coding::Packed, Coding::Sealed] {
        let swap = Swap::open(&SwapOptions { coding, ..options(folder.path(), 64 * MIB) }).unwrap();
        let mut memory = memory(9, 4 * MIB);
        let region = memory.region();
        let mut image = Image::new(&swap);
        swap.send(&region, &mut image, &|_| true).unwrap();
        let at = image.pieces[0].extent.at;
        let mut page = PageBuffer::new(PAGE).unwrap();
        swap.file.read_exact_at(page.bytes_mut(), at).unwrap();
        page.bytes_mut()[100] ^= 4;
        swap.file.write_all_at(page.bytes(), at).unwrap();
        assert!(
            matches!(image.restore(&region, &mut |_| ()), Err(SwapError::Damaged)),
            "{coding:?}"
        );
    }
}

#[test]
fn who_is_wanted_back_is_not_sent_on() {
    let folder = tempfile::tempdir().unwrap();
    let swap = Swap::open(&options(folder.path(), 64 * MIB)).unwrap();
    let mut memory = memory(11, 16 * MIB);
    let before = memory.bytes().to_vec();
    let region = memory.region();
    let mut image = Image::new(&swap);
    let freed = std::cell::Cell::new(0);
    let until = |now| {
        freed.set(now);
        now < 3 << 20
    };
    assert_eq!(swap.send(&region, &mut image, &until).unwrap(), Sent::Stopped);
    assert_eq!(freed.get(), image.bytes());
    assert!(image.bytes() < 8 << 20);
    image.restore(&region, &mut |_| ()).unwrap();
    assert!(memory.bytes() == before);
}

#[test]
fn changed_pages_of_a_file_come_back_and_the_others_stay_the_files() {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    let folder = tempfile::tempdir().unwrap();
    let swap = Swap::open(&options(folder.path(), 64 * MIB)).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; 4 * PAGE]).unwrap();
    let mut memory = PageBuffer::new(16 * PAGE).unwrap();
    let image_pages = pages::map_private(&mut memory, file.as_raw_fd(), 4 * PAGE);
    assert!(image_pages.is_ok());
    // A page of the file made zero must not come back as the file's.
    memory.bytes_mut()[PAGE..2 * PAGE].fill(0);
    memory.bytes_mut()[2 * PAGE] = 9;
    let before = memory.bytes().to_vec();
    let region = memory.region();
    assert_eq!(region.touched(swap.pagemap()).unwrap(), 2 * PAGE);
    let mut image = Image::new(&swap);
    swap.send(&region, &mut image, &|_| true).unwrap();
    image.restore(&region, &mut |_| ()).unwrap();
    assert!(memory.bytes() == before);
}
