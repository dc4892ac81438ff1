//! The services that can be called without a model, and how each is spoken to.

use super::error::{Known, Names};

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// JSON, the action in `X-Amz-Target`.
    Json { version: &'static str, target: &'static str },
    /// A form, answered in XML.
    Query { version: &'static str },
    /// S3's own.
    S3,
}

/// How a service writes its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// As Step Functions writes them.
    Pascal,
    /// With a small first letter.
    Camel,
}

/// A service.
#[derive(Debug)]
pub(super) struct Service {
    /// In `aws-sdk:NAME:…`.
    pub(super) name: &'static str,
    /// What a signature is for.
    pub(super) signing: &'static str,
    pub(super) protocol: Protocol,
    pub(super) case: Case,
    /// How its client in AWS's SDK is called: what errors of `aws-sdk:…` begin with.
    pub(super) client: &'static str,
    /// Where there is an integration of its own.
    pub(super) optimized: Option<Optimized>,
    /// Codes that are errors of the service itself; none where all are but those of every service.
    pub(super) errors: Option<&'static [&'static str]>,
}

/// What errors of an integration of its own are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Optimized {
    /// What error names begin with.
    pub(super) prefix: &'static str,
    /// What causes call it.
    pub(super) label: &'static str,
    /// The error of codes that have none of their own.
    pub(super) base: &'static str,
    /// Whether results tell of the HTTP answer.
    pub(super) metadata: Metadata,
}

/// Whether a result tells of the HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metadata {
    Shown,
    Hidden,
}

const fn json(name: &'static str, version: &'static str, target: &'static str) -> Service {
    Service {
        name,
        signing: name,
        protocol: Protocol::Json { version, target },
        case: Case::Pascal,
        client: "",
        optimized: None,
        errors: None,
    }
}

const fn query(name: &'static str, version: &'static str) -> Service {
    Service { protocol: Protocol::Query { version }, ..json(name, "", "") }
}

impl Service {
    /// What its errors are called.
    pub(super) fn names(&self) -> Names<'_> {
        let known = self.errors.map_or(Known::Any, Known::These);
        Names { client: self.client, optimized: self.optimized, known }
    }

    const fn client(self, client: &'static str) -> Self {
        Self { client, ..self }
    }

    const fn signed(self, signing: &'static str) -> Self {
        Self { signing, ..self }
    }

    const fn camel(self) -> Self {
        Self { case: Case::Camel, ..self }
    }

    const fn optimized(
        self,
        prefix: &'static str,
        label: &'static str,
        base: &'static str,
        metadata: Metadata,
    ) -> Self {
        Self { optimized: Some(Optimized { prefix, label, base, metadata }), ..self }
    }
}

/// S3 has hundreds of codes; its clients know these as errors of their own.
const S3_ERRORS: &[&str] = &[
    "BucketAlreadyExists",
    "BucketAlreadyOwnedByYou",
    "EncryptionTypeMismatch",
    "IdempotencyParameterMismatch",
    "InvalidObjectState",
    "InvalidRequest",
    "InvalidWriteOffset",
    "NoSuchBucket",
    "NoSuchKey",
    "NoSuchUpload",
    "ObjectAlreadyInActiveTier",
    "ObjectNotInActiveTier",
    "TooManyParts",
];

const ALL: &[Service] = &[
    json("dynamodb", "1.0", "DynamoDB_20120810").client("DynamoDb").optimized(
        "DynamoDB",
        "AmazonDynamoDBv2",
        "AmazonDynamoDBException",
        Metadata::Shown,
    ),
    json("sqs", "1.0", "AmazonSQS").client("Sqs").optimized(
        "SQS",
        "AmazonSQS",
        "AmazonSQSException",
        Metadata::Shown,
    ),
    query("sns", "2010-03-31").client("Sns").optimized(
        "SNS",
        "AmazonSNS",
        "AmazonSNSException",
        Metadata::Shown,
    ),
    json("eventbridge", "1.1", "AWSEvents").client("EventBridge").signed("events").optimized(
        "EventBridge",
        "AmazonEventBridge",
        "AmazonEventBridgeException",
        Metadata::Hidden,
    ),
    Service {
        protocol: Protocol::S3,
        errors: Some(S3_ERRORS),
        ..json("s3", "", "").client("S3").optimized(
            "S3",
            "Amazon S3",
            "AmazonS3Exception",
            Metadata::Hidden,
        )
    },
    json("acm", "1.1", "CertificateManager").client("Acm"),
    json("athena", "1.1", "AmazonAthena").client("Athena"),
    query("cloudformation", "2010-05-15").client("CloudFormation"),
    query("cloudwatch", "2010-08-01").client("CloudWatch").signed("monitoring"),
    json("cloudwatchlogs", "1.1", "Logs_20140328").client("CloudWatchLogs").signed("logs").camel(),
    json("codebuild", "1.1", "CodeBuild_20161006").client("CodeBuild").camel(),
    json("cognitoidentityprovider", "1.1", "AWSCognitoIdentityProviderService")
        .client("CognitoIdentityProvider")
        .signed("cognito-idp"),
    json("comprehend", "1.1", "Comprehend_20171127").client("Comprehend"),
    json("ecr", "1.1", "AmazonEC2ContainerRegistry_V20150921").client("Ecr").camel(),
    json("ecs", "1.1", "AmazonEC2ContainerServiceV20141113").client("Ecs").camel(),
    json("firehose", "1.1", "Firehose_20150804").client("Firehose"),
    json("glue", "1.1", "AWSGlue").client("Glue"),
    query("iam", "2010-05-08").client("Iam"),
    json("kinesis", "1.1", "Kinesis_20131202").client("Kinesis"),
    json("kms", "1.1", "TrentService").client("Kms"),
    json("rekognition", "1.1", "RekognitionService").client("Rekognition"),
    json("sagemaker", "1.1", "SageMaker").client("SageMaker"),
    json("secretsmanager", "1.1", "secretsmanager").client("SecretsManager"),
    json("ssm", "1.1", "AmazonSSM").client("Ssm"),
    query("sts", "2011-06-15").client("Sts"),
    json("textract", "1.1", "Textract").client("Textract"),
    json("transcribe", "1.1", "Transcribe").client("Transcribe"),
    json("translate", "1.1", "AWSShineFrontendService_20170701").client("Translate"),
];

/// Other names of services: integrations of their own, AWS's command line and folders of models have some.
const ALIASES: &[(&str, &str)] = &[
    ("ce", "costexplorer"),
    ("cognito-idp", "cognitoidentityprovider"),
    ("cur", "costandusagereport"),
    ("discovery", "applicationdiscovery"),
    ("dms", "databasemigration"),
    ("ds", "directory"),
    ("ds-data", "directoryservicedata"),
    ("elb", "elasticloadbalancing"),
    ("elbv2", "elasticloadbalancingv2"),
    ("es", "elasticsearch"),
    ("events", "eventbridge"),
    ("iot-data", "iotdataplane"),
    ("iot-jobs-data", "iotjobsdataplane"),
    ("lex-models", "lexmodelbuilding"),
    ("lexv2-models", "lexmodelsv2"),
    ("lexv2-runtime", "lexruntimev2"),
    ("logs", "cloudwatchlogs"),
    ("meteringmarketplace", "marketplacemetering"),
    ("mgh", "migrationhub"),
    ("sdb", "simpledb"),
    ("serverlessrepo", "serverlessapplicationrepository"),
    ("stepfunctions", "sfn"),
];

/// The name under which a service is known here.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

/// The service of that name.
pub(super) fn find(name: &str) -> Option<&'static Service> {
    let name = canonical(name);
    ALL.iter().find(|service| service.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_one_name_and_a_client() {
        for service in ALL {
            assert!(!service.client.is_empty(), "{}", service.name);
            let of_name = ALL.iter().filter(|other| other.name == service.name).count();
            assert_eq!(of_name, 1, "{}", service.name);
        }
        for (alias, name) in ALIASES {
            assert_eq!(canonical(alias), *name);
            assert_eq!(canonical(name), *name);
        }
    }
}
