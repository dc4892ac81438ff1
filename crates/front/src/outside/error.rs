//! What a state is told of a call that failed, in the words of AWS's two clients: the older one behind
//! the integrations of their own, the newer one behind `aws-sdk:…`.

use asl::ask::Failed;

use super::aws::Way;
use super::services::Service;

/// Codes that any service answers with; its client has no error of its own for them.
const EVERYWHERE: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InternalFailure",
    "InvalidAction",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAction",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "RequestExpired",
    "SerializationException",
    "ServiceUnavailable",
    "SignatureDoesNotMatch",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationError",
    "ValidationException",
];

/// A service's refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// `ResourceNotFoundException`, `NoSuchKey` …
    pub(super) code: String,
    pub(super) message: String,
    pub(super) request: String,
    /// S3's second id of a request.
    pub(super) host: Option<String>,
}

impl Refusal {
    pub(super) fn told(self, service: &Service, way: Way) -> Failed {
        let Self { status, code, message, request, host } = self;
        let own = match service.errors {
            Some(known) => known.contains(&code.as_str()),
            None => !EVERYWHERE.contains(&code.as_str()) && !code.is_empty(),
        };
        let optimized = service.optimized.filter(|_| way == Way::Optimized);
        let (prefix, base) = match &optimized {
            Some(optimized) => (optimized.prefix, optimized.base.to_owned()),
            None => (service.client, format!("{}Exception", service.client)),
        };
        let name = if own { exception(&code) } else { base };
        let cause = match optimized {
            Some(optimized) => format!(
                "{message} (Service: {}; Status Code: {status}; Error Code: {code}; Request ID: {request}; \
                 Proxy: null)",
                optimized.label
            ),
            None => {
                let host =
                    host.map_or_else(String::new, |host| format!(", Extended Request ID: {host}"));
                format!(
                    "{message} (Service: {}, Status Code: {status}, Request ID: {request}{host})",
                    service.client
                )
            }
        };
        Failed { error: format!("{prefix}.{name}"), cause: Some(cause) }
    }
}

/// A code as a client's error.
fn exception(code: &str) -> String {
    if code.ends_with("Exception") {
        return code.to_owned();
    }
    format!("{}Exception", code.strip_suffix("Fault").unwrap_or(code))
}

/// No answer came.
pub(super) fn unreachable(service: &Service, way: Way, why: &str) -> Failed {
    let optimized = service.optimized.filter(|_| way == Way::Optimized);
    let prefix = optimized.map_or(service.client, |optimized| optimized.prefix);
    let cause = Some(format!("Unable to execute HTTP request: {why}"));
    Failed { error: format!("{prefix}.SdkClientException"), cause }
}

#[cfg(test)]
mod tests {
    use super::super::services::find;
    use super::*;

    #[track_caller]
    fn check(service: &str, way: Way, code: &str, expected: &str) {
        let refusal = Refusal {
            status: 400,
            code: code.to_owned(),
            message: "No.".to_owned(),
            request: "R".to_owned(),
            host: (service == "s3").then(|| "H".to_owned()),
        };
        let Failed { error, cause } = refusal.told(find(service).unwrap(), way);
        assert_eq!(format!("{error}: {}", cause.unwrap()), expected);
    }

    #[test]
    fn errors_have_the_names_and_causes_that_aws_gives_them() {
        check(
            "dynamodb",
            Way::Optimized,
            "ValidationException",
            "DynamoDB.AmazonDynamoDBException: No. (Service: AmazonDynamoDBv2; Status Code: 400; \
             Error Code: ValidationException; Request ID: R; Proxy: null)",
        );
        check(
            "dynamodb",
            Way::Plain,
            "ValidationException",
            "DynamoDb.DynamoDbException: No. (Service: DynamoDb, Status Code: 400, Request ID: R)",
        );
        check(
            "sns",
            Way::Optimized,
            "InvalidParameter",
            "SNS.InvalidParameterException: No. (Service: AmazonSNS; Status Code: 400; \
             Error Code: InvalidParameter; Request ID: R; Proxy: null)",
        );
        check(
            "s3",
            Way::Plain,
            "NoSuchKey",
            "S3.NoSuchKeyException: No. (Service: S3, Status Code: 400, Request ID: R, \
             Extended Request ID: H)",
        );
        check(
            "s3",
            Way::Plain,
            "SlowDown",
            "S3.S3Exception: No. (Service: S3, Status Code: 400, Request ID: R, \
             Extended Request ID: H)",
        );
    }
}
