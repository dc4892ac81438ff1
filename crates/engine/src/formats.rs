//! How the nouns of other modules are encoded. A number or an order that stands here is for ever.

use model::suspend::{Ask, InvokeMode, Resolution, Until};
use model::{Failure, FailureKind};

use crate::codec::{code_enum, code_struct};
use crate::money::{Account, Billed, Totals};
use crate::output::{Call, Effect, Parent};
use crate::payload::Payload;

code_enum!(Payload {
    0 => Inline(bytes),
    1 => Stored { hash, len },
});

code_enum!(FailureKind {
    0 => Handler,
    1 => Init,
    2 => Exited,
    3 => Trapped,
    4 => TimedOut,
    5 => OutOfMemory,
    6 => BadResponse,
    7 => ResponseTooLarge,
    8 => Cancelled,
    9 => Platform,
});

code_struct!(Failure { kind, message, detail });

code_enum!(InvokeMode {
    0 => Wait,
    1 => Detach,
});

code_enum!(Ask<Payload> {
    0 => Timer { at },
    1 => Invoke { function, class, payload, mode },
    2 => Signal { name },
    3 => Token { heartbeat },
    4 => SendSignal { to, name, payload },
});

code_enum!(Until {
    0 => Any(ops),
    1 => All(ops),
    2 => Next,
});

code_enum!(Resolution<Payload> {
    0 => Ok(payload),
    1 => Failed(failure),
    2 => Refused { code, message },
});

code_struct!(Totals { amount, cpu, memory, invocations, stored_byte_nanos, transitions });

code_struct!(Billed { receipts, stored_byte_nanos, transitions });

code_struct!(Account { own, below, bytes, counted_until });

code_struct!(Parent { execution, op, id });

code_struct!(Call { op, id, function, stated, floor, payload, mode });

code_enum!(Effect {
    0 => RunTurn { turn, attempt, id },
    1 => CancelTurn { turn, attempt, id },
    2 => Invoke(call),
    3 => CancelCall { op, id },
    4 => SendSignal { op, id, to, name, signal, payload },
    5 => Report { parent, resolution, used },
});

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::codec::Code;
    use std::vec::Vec;

    #[test]
    fn every_failure_kind_has_its_number() {
        for kind in FailureKind::ALL {
            let mut bytes = Vec::new();
            kind.put(&mut bytes);
            assert_eq!(crate::codec::decode(1, &[&[1], &bytes[..]].concat()), Ok(kind));
        }
    }
}
