//! Inputs and verdicts as bytes, for a shell whose executions live in several processes.
//!
//! Both ends are of one release or of neighbors: what stands here is not kept, yet numbers stay.

use alloc::string::String;
use alloc::vec::Vec;

use model::suspend::{Ask, OpId, Resolution};
use model::{InvocationId, TenantName};

use crate::codec::{self, DecodeError, code_enum};
use crate::execution::Status;
use crate::input::{Input, Refusal, SignalId, TokenAnswer, Verdict};
use crate::money::Totals;
use crate::payload::Payload;
use crate::token::Token;

const FORMAT: u8 = 1;

/// What one process may say to an execution that another one has.
enum Passed {
    Resolved {
        op: OpId,
        id: InvocationId,
        resolution: Resolution<Payload>,
        used: Totals,
    },
    Signal {
        name: String,
        id: Option<SignalId>,
        payload: Payload,
    },
    Token {
        tenant: TenantName,
        token: Token,
        answer: TokenAnswer,
    },
    Cancel {
        reason: String,
    },
    Pause {
        reason: String,
    },
    Resume,
    Redrive {
        asks: Vec<(OpId, Ask<Payload>)>,
    },
    SetStatus {
        status: Vec<u8>,
    },
    /// The same with a reason, which the release before did not know.
    ResumeFor {
        reason: String,
    },
    RedriveFor {
        reason: String,
        asks: Vec<(OpId, Ask<Payload>)>,
    },
}

code_enum!(Passed {
    0 => Resolved { op, id, resolution, used },
    1 => Signal { name, id, payload },
    2 => Token { tenant, token, answer },
    3 => Cancel { reason },
    4 => Pause { reason },
    5 => Resume,
    6 => Redrive { asks },
    7 => SetStatus { status },
    8 => ResumeFor { reason },
    9 => RedriveFor { reason, asks },
});

code_enum!(TokenAnswer {
    0 => Ended(result),
    1 => Heartbeat,
});

code_enum!(Status {
    0 => Running,
    1 => Waiting,
    2 => Paused,
    3 => Succeeded,
    4 => Failed,
    5 => Cancelled,
});

code_enum!(Refusal {
    0 => Ended(status),
    1 => NotEnded,
    2 => Succeeded,
    3 => Stopping,
    4 => NotPaused,
    5 => KeptFull,
    6 => Malformed,
    7 => PayloadTooLarge,
    8 => WrongAsk(op),
    9 => TokenForged,
    10 => TokenForeign,
    11 => TokenUsed,
    12 => TokenExpired,
    13 => TokenDropped,
    14 => TokenClosed,
});

code_enum!(Verdict {
    0 => Applied,
    1 => Duplicate,
    2 => Late(refusal),
    3 => Refused(refusal),
});

impl Input {
    /// The input as bytes. None for what concerns only the process that has the execution: the end
    /// of a turn, its timer, and that its parent was told. After another process took it over, what
    /// led to those is done again there.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let passed = match self.clone() {
            Self::Resolved { op, id, resolution, used } => {
                Passed::Resolved { op, id, resolution, used }
            }
            Self::Signal { name, id, payload } => Passed::Signal { name, id, payload },
            Self::Token { tenant, token, answer } => Passed::Token { tenant, token, answer },
            Self::Cancel { reason } => Passed::Cancel { reason },
            Self::Pause { reason } => Passed::Pause { reason },
            Self::Resume { reason } if reason.is_empty() => Passed::Resume,
            Self::Resume { reason } => Passed::ResumeFor { reason },
            Self::Redrive { reason, asks } if reason.is_empty() => Passed::Redrive { asks },
            Self::Redrive { reason, asks } => Passed::RedriveFor { reason, asks },
            Self::SetStatus { status } => Passed::SetStatus { status },
            Self::TurnEnded { .. } | Self::TimerDue | Self::Reported => return None,
        };
        Some(codec::encode(FORMAT, &passed))
    }

    /// The input of those bytes.
    ///
    /// # Errors
    /// Damaged, or written by a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(match codec::decode(FORMAT, bytes)? {
            Passed::Resolved { op, id, resolution, used } => {
                Self::Resolved { op, id, resolution, used }
            }
            Passed::Signal { name, id, payload } => Self::Signal { name, id, payload },
            Passed::Token { tenant, token, answer } => Self::Token { tenant, token, answer },
            Passed::Cancel { reason } => Self::Cancel { reason },
            Passed::Pause { reason } => Self::Pause { reason },
            Passed::Resume => Self::Resume { reason: String::new() },
            Passed::Redrive { asks } => Self::Redrive { reason: String::new(), asks },
            Passed::ResumeFor { reason } => Self::Resume { reason },
            Passed::RedriveFor { reason, asks } => Self::Redrive { reason, asks },
            Passed::SetStatus { status } => Self::SetStatus { status },
        })
    }
}

impl Verdict {
    /// The verdict as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(FORMAT, self)
    }

    /// The verdict of those bytes.
    ///
    /// # Errors
    /// Damaged, or written by a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(FORMAT, bytes)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use model::{ExecutionId, Failure, FailureKind};
    use std::vec;

    #[test]
    fn what_is_passed_on_arrives_as_it_was() {
        let text = "exe_00000000000000000000000007.1.2.";
        let token = Token::parse(&std::format!("{text}{}", "0a".repeat(32))).unwrap();
        assert_eq!(token.execution, ExecutionId(7));
        let failed = Failure::new(FailureKind::Handler, "no");
        let asks = || vec![(OpId(1), Ask::Signal { name: "go".into() })];
        let inputs = [
            Input::Resolved {
                op: OpId(3),
                id: InvocationId(9),
                resolution: Resolution::Ok(Payload::Inline(vec![1, 2])),
                used: Totals { invocations: 4, ..Totals::default() },
            },
            Input::Signal {
                name: "go".into(),
                id: Some(SignalId(5)),
                payload: Payload::Stored { hash: [7; 32], len: 99 },
            },
            Input::Token {
                tenant: "acme".parse().unwrap(),
                token,
                answer: TokenAnswer::Ended(Err(failed)),
            },
            Input::Cancel { reason: "enough".into() },
            Input::Pause { reason: "lunch".into() },
            Input::Resume { reason: String::new() },
            Input::Resume { reason: "back".into() },
            Input::Redrive { reason: String::new(), asks: asks() },
            Input::Redrive { reason: "mended".into(), asks: asks() },
            Input::SetStatus { status: vec![8] },
        ];
        for input in inputs {
            let bytes = input.encode().unwrap();
            assert_eq!(Input::decode(&bytes), Ok(input));
            assert!(Input::decode(&bytes[..bytes.len() - 1]).is_err(), "cut off");
        }
        assert_eq!(Input::TimerDue.encode(), None);
        let verdicts =
            [Verdict::Applied, Verdict::Late(Refusal::Ended(Status::Failed)), Verdict::Duplicate];
        for verdict in verdicts {
            assert_eq!(Verdict::decode(&verdict.encode()), Ok(verdict));
        }
    }
}
