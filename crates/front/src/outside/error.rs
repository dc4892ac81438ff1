//! What a state is told of a call that failed, in the words of AWS's two clients: the older one behind
//! the integrations of their own, the newer one behind `aws-sdk:…`.

use asl::ask::Failed;

use super::aws::Way;
use super::models::Api;
use super::models::naming::pascal;
use super::services::Optimized;

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

/// What a service's errors are called.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    /// How its client in AWS's SDK is called: what errors of `aws-sdk:…` begin with.
    pub(super) client: &'a str,
    /// Where there is an integration of its own.
    pub(super) optimized: Option<Optimized>,
    pub(super) known: Known<'a>,
}

/// Codes that are errors of the service itself.
#[derive(Clone, Copy)]
pub(super) enum Known<'a> {
    /// All but those of every service.
    Any,
    These(&'static [&'static str]),
    /// Those of its model.
    Modelled(&'a Api),
}

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
    pub(super) fn told(self, names: &Names<'_>, way: Way) -> Failed {
        let Self { status, code, message, request, host } = self;
        let Names { client, optimized, known } = *names;
        let own = match known {
            Known::These(known) => known.iter().copied().find(|known| *known == code),
            Known::Any => {
                Some(code.as_str()).filter(|code| !EVERYWHERE.contains(code) && !code.is_empty())
            }
            Known::Modelled(api) => api.error(&code),
        };
        let optimized = optimized.filter(|_| way == Way::Optimized);
        let (prefix, base) = match &optimized {
            Some(optimized) => (optimized.prefix, optimized.base.to_owned()),
            None => (client, format!("{client}Exception")),
        };
        let name = own.map_or(base, |code| exception(code, way));
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
                    "{message} (Service: {client}, Status Code: {status}, Request ID: {request}{host})"
                )
            }
        };
        Failed { error: format!("{prefix}.{name}"), cause: Some(cause) }
    }
}

/// A code as a client's error: `DBInstanceNotFoundFault` is `DbInstanceNotFoundException` to the newer one.
fn exception(code: &str, way: Way) -> String {
    let code = match way {
        Way::Optimized => code.to_owned(),
        Way::Plain => pascal(code),
    };
    if code.ends_with("Exception") {
        return code;
    }
    format!("{}Exception", code.strip_suffix("Fault").unwrap_or(&code))
}

/// No answer came.
pub(super) fn unreachable(names: &Names<'_>, way: Way, why: &str) -> Failed {
    let optimized = names.optimized.filter(|_| way == Way::Optimized);
    let prefix = optimized.map_or(names.client, |optimized| optimized.prefix);
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
        let Failed { error, cause } = refusal.told(&find(service).unwrap().names(), way);
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
