//! What a Task state calls, read from its ARN.

/// Services and their actions that have an integration of their own, as AWS lists them. Others are called
/// as `aws-sdk:service:action`.
const OPTIMIZED: &[(&str, &[&str])] = &[
    ("apigateway", &["invoke"]),
    (
        "athena",
        &["startQueryExecution", "stopQueryExecution", "getQueryExecution", "getQueryResults"],
    ),
    ("batch", &["submitJob"]),
    ("bedrock", &["invokeModel", "createModelCustomizationJob"]),
    (
        "codebuild",
        &[
            "startBuild",
            "stopBuild",
            "batchDeleteBuilds",
            "batchGetReports",
            "startBuildBatch",
            "stopBuildBatch",
            "retryBuildBatch",
            "deleteBuildBatch",
        ],
    ),
    ("databrew", &["startJobRun"]),
    ("dynamodb", &["getItem", "putItem", "deleteItem", "updateItem"]),
    ("ecs", &["runTask"]),
    (
        "eks",
        &[
            "call",
            "runJob",
            "createCluster",
            "deleteCluster",
            "createNodegroup",
            "deleteNodegroup",
            "createFargateProfile",
            "deleteFargateProfile",
        ],
    ),
    (
        "elasticmapreduce",
        &[
            "createCluster",
            "terminateCluster",
            "addStep",
            "cancelStep",
            "setClusterTerminationProtection",
            "modifyInstanceFleetByName",
            "modifyInstanceGroupByName",
        ],
    ),
    ("emr-containers", &["createVirtualCluster", "deleteVirtualCluster", "startJobRun"]),
    (
        "emr-serverless",
        &[
            "createApplication",
            "startApplication",
            "stopApplication",
            "deleteApplication",
            "startJobRun",
            "cancelJobRun",
        ],
    ),
    ("events", &["putEvents"]),
    ("glue", &["startJobRun"]),
    ("http", &["invoke"]),
    ("lambda", &["invoke"]),
    ("mediaconvert", &["createJob"]),
    ("s3", &["getObject", "putObject", "listObjectsV2"]),
    (
        "sagemaker",
        &[
            "createEndpoint",
            "createEndpointConfig",
            "createHyperParameterTuningJob",
            "createLabelingJob",
            "createModel",
            "createProcessingJob",
            "createTrainingJob",
            "createTransformJob",
            "updateEndpoint",
        ],
    ),
    ("sns", &["publish"]),
    ("sqs", &["sendMessage"]),
    ("states", &["startExecution"]),
];

/// Of these, what has jobs whose end can be waited for.
const WITH_JOBS: [&str; 14] = [
    "athena",
    "batch",
    "bedrock",
    "codebuild",
    "databrew",
    "ecs",
    "eks",
    "elasticmapreduce",
    "emr-containers",
    "emr-serverless",
    "glue",
    "mediaconvert",
    "sagemaker",
    "states",
];
/// Of these, what can hand a token on.
const WITH_CALLBACKS: [&str; 9] =
    ["apigateway", "bedrock", "ecs", "eks", "events", "lambda", "sns", "sqs", "states"];

/// Who does the work of a Task state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The ARN, as it was written.
    pub arn: String,
    /// What it names.
    pub integration: Integration,
}

/// What an ARN names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integration {
    /// A function by its own ARN: its input is the payload, its answer the result.
    Function {
        /// `name`, or `name:qualifier`.
        name: String,
    },
    /// An activity: a worker asks for the work.
    Activity {
        /// Its name.
        name: String,
    },
    /// An action of a service.
    Service {
        /// `lambda`, `sqs`, `states` …; for `aws-sdk:s3:getObject` it is `s3`.
        service: String,
        /// `invoke`, `sendMessage` …
        action: String,
        /// Written as `aws-sdk:…`.
        sdk: Sdk,
        /// When the state goes on.
        pattern: Pattern,
    },
}

/// Which of the two ways a service is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// Through an integration of its own.
    Optimized,
    /// Through `aws-sdk:…`.
    Plain,
}

/// When a state goes on after its service was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// When the service answered.
    RequestResponse,
    /// When the job that was started ended. `.sync`
    Sync,
    /// The same, its output as JSON. `.sync:2`
    Sync2,
    /// When somebody presents the token. `.waitForTaskToken`
    Callback,
}

impl Pattern {
    /// What stands behind the action.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::RequestResponse => "",
            Self::Sync => ".sync",
            Self::Sync2 => ".sync:2",
            Self::Callback => ".waitForTaskToken",
        }
    }
}

impl Resource {
    /// Reads an ARN; none if it names nothing that a Task state can call.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (Some("arn"), Some(partition), Some(service), Some(region), Some(account), Some(rest)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        if partition.is_empty() {
            return None;
        }
        let integration = match service {
            "lambda" => function(rest)?,
            "states" if region.is_empty() && account.is_empty() => service_call(rest)?,
            "states" => activity(rest)?,
            _ => return None,
        };
        Some(Self { arn: arn.to_owned(), integration })
    }

    /// `resourceType` of the events about it.
    #[must_use]
    pub fn event_type(&self) -> String {
        match &self.integration {
            Integration::Function { .. } => "lambda".to_owned(),
            Integration::Activity { .. } => "activity".to_owned(),
            Integration::Service { service, sdk: Sdk::Optimized, .. } => service.clone(),
            Integration::Service { service, sdk: Sdk::Plain, .. } => format!("aws-sdk:{service}"),
        }
    }

    /// `resource` of the events about it.
    #[must_use]
    pub fn event_resource(&self) -> String {
        match &self.integration {
            Integration::Function { .. } | Integration::Activity { .. } => self.arn.clone(),
            Integration::Service { action, pattern, .. } => format!("{action}{}", pattern.suffix()),
        }
    }

    /// Whether its work ends when somebody presents a token.
    #[must_use]
    pub const fn waits_for_token(&self) -> bool {
        matches!(self.pattern(), Pattern::Callback)
            || matches!(self.integration, Integration::Activity { .. })
    }

    /// Whether a function does the work, however it is named.
    #[must_use]
    pub fn is_function(&self) -> bool {
        match &self.integration {
            Integration::Function { .. } => true,
            Integration::Activity { .. } => false,
            Integration::Service { service, action, .. } => {
                service == "lambda" && action == "invoke"
            }
        }
    }

    /// When a state that calls it goes on.
    #[must_use]
    pub const fn pattern(&self) -> Pattern {
        match &self.integration {
            Integration::Service { pattern, .. } => *pattern,
            Integration::Function { .. } | Integration::Activity { .. } => Pattern::RequestResponse,
        }
    }
}

fn function(rest: &str) -> Option<Integration> {
    let mut parts = rest.split(':');
    let (Some("function"), Some(name)) = (parts.next(), parts.next()) else { return None };
    if !is_name(name, 140) {
        return None;
    }
    match (parts.next(), parts.next()) {
        (None, None) => Some(Integration::Function { name: name.to_owned() }),
        (Some(qualifier), None)
            if qualifier == "$LATEST" || is_name(qualifier.trim_start_matches('$'), 128) =>
        {
            Some(Integration::Function { name: format!("{name}:{qualifier}") })
        }
        _ => None,
    }
}

fn activity(rest: &str) -> Option<Integration> {
    let name = rest.strip_prefix("activity:")?;
    (!name.is_empty() && name.chars().count() <= 80)
        .then(|| Integration::Activity { name: name.to_owned() })
}

fn service_call(rest: &str) -> Option<Integration> {
    let (rest, pattern) = if let Some(rest) = rest.strip_suffix(".waitForTaskToken") {
        (rest, Pattern::Callback)
    } else if let Some(rest) = rest.strip_suffix(".sync:2") {
        (rest, Pattern::Sync2)
    } else if let Some(rest) = rest.strip_suffix(".sync") {
        (rest, Pattern::Sync)
    } else {
        (rest, Pattern::RequestResponse)
    };
    let (rest, sdk) = match rest.strip_prefix("aws-sdk:") {
        Some(rest) => (rest, Sdk::Plain),
        None => (rest, Sdk::Optimized),
    };
    let (service, action) = rest.split_once(':')?;
    let known = match sdk {
        // A service client has no job to wait for.
        Sdk::Plain => {
            is_name(service, 64)
                && is_name(action, 128)
                && action.starts_with(|first: char| first.is_ascii_lowercase())
                && matches!(pattern, Pattern::RequestResponse | Pattern::Callback)
        }
        Sdk::Optimized => {
            OPTIMIZED.iter().any(|(name, actions)| *name == service && actions.contains(&action))
                && match pattern {
                    Pattern::RequestResponse => true,
                    Pattern::Sync => WITH_JOBS.contains(&service),
                    Pattern::Sync2 => matches!(service, "states" | "elasticmapreduce"),
                    Pattern::Callback => WITH_CALLBACKS.contains(&service),
                }
        }
    };
    known.then(|| Integration::Service {
        service: service.to_owned(),
        action: action.to_owned(),
        sdk,
        pattern,
    })
}

fn is_name(text: &str, length_max: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.len() <= length_max && text.chars().all(allowed)
}
