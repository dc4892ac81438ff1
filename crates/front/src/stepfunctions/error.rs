//! Refusals in AWS's words.

use axum::http::StatusCode;
use node::{Error, ErrorKind};
use serde_json::{Value, json};

/// An exception of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AwsError {
    code: &'static str,
    message: String,
    status: StatusCode,
    /// Why a request is not valid, where AWS has a word for it.
    reason: Option<&'static str>,
}

impl AwsError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        let status = match code {
            "ConflictException" => StatusCode::CONFLICT,
            "ServiceQuotaExceededException" => StatusCode::PAYMENT_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { code, message: message.into(), status, reason: None }
    }

    /// The same, with AWS's word for why.
    #[must_use]
    pub(super) const fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// One parameter breaks a rule of the API's model.
    pub(super) fn constraint(value: &str, at: &str, rule: &str) -> Self {
        Self::validation(format!(
            "1 validation error detected: Value '{value}' at '{at}' failed to satisfy constraint: {rule}"
        ))
    }

    pub(super) fn unknown_operation() -> Self {
        Self::new("UnknownOperationException", "")
    }

    pub(super) fn no_machine(arn: &str) -> Self {
        Self::new("StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{arn}'"))
    }

    pub(super) fn no_log_destination() -> Self {
        let message = "Invalid Logging Configuration: Log Destination not found.";
        Self::new("InvalidLoggingConfiguration", message)
    }

    pub(super) fn no_resource() -> Self {
        Self::new("ResourceNotFound", "Request references a resource that does not exist.")
    }

    pub(super) const fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn body(&self) -> Value {
        let mut body = json!({ "__type": self.code, "message": self.message });
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        body
    }
}

impl From<Error> for AwsError {
    fn from(error: Error) -> Self {
        let (code, status) = match error.kind {
            ErrorKind::Unauthenticated | ErrorKind::Forbidden | ErrorKind::ClassNotAllowed => {
                ("AccessDeniedException", StatusCode::FORBIDDEN)
            }
            ErrorKind::OverBudget | ErrorKind::Overloaded => {
                ("ThrottlingException", StatusCode::BAD_REQUEST)
            }
            ErrorKind::Draining
            | ErrorKind::OwnerAway
            | ErrorKind::Storage
            | ErrorKind::Internal => ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR),
            _ => ("ValidationException", StatusCode::BAD_REQUEST),
        };
        Self { code, message: error.to_string(), status, reason: None }
    }
}
