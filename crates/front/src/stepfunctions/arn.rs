//! Names of things: `arn:aws:states:REGION:ACCOUNT:stateMachine:NAME`.

use super::Settings;
use super::error::AwsError;

/// What all ARNs of this node begin with.
#[derive(Clone, Debug)]
pub(super) struct Place {
    region: String,
    account: String,
}

/// The ARN of a state machine, of a version of it or of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MachineArn {
    pub(super) name: String,
    pub(super) qualifier: Option<Qualifier>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Qualifier {
    Version(u32),
    Alias(String),
}

impl Place {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { region: settings.region.clone(), account: settings.account.clone() }
    }

    fn arn(&self, sort: &str, rest: &str) -> String {
        format!("arn:aws:states:{}:{}:{sort}:{rest}", self.region, self.account)
    }

    pub(super) fn machine(&self, name: &str) -> String {
        self.arn("stateMachine", name)
    }

    pub(super) fn version(&self, name: &str, version: u32) -> String {
        self.arn("stateMachine", &format!("{name}:{version}"))
    }

    pub(super) fn alias(&self, name: &str, alias: &str) -> String {
        self.arn("stateMachine", &format!("{name}:{alias}"))
    }

    pub(super) fn execution(&self, machine: &str, name: &str) -> String {
        self.arn("execution", &format!("{machine}:{name}"))
    }

    pub(super) fn function(&self, name: &str) -> String {
        format!("arn:aws:lambda:{}:{}:function:{name}", self.region, self.account)
    }

    /// Without the `:*` by which its streams are meant too.
    pub(super) fn log_group(&self, name: &str) -> String {
        format!("arn:aws:logs:{}:{}:log-group:{name}", self.region, self.account)
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) fn activity(&self, name: &str) -> String {
        self.arn("activity", name)
    }

    /// An execution whose history nobody reads: that of TestState.
    pub(super) fn express(&self, machine: &str, name: &str) -> String {
        self.arn("express", &format!("{machine}:{name}"))
    }
}

/// The rest of an ARN of this sort.
fn rest<'a>(arn: &'a str, sort: &str) -> Result<&'a str, AwsError> {
    let invalid = |why: &str| AwsError::new("InvalidArn", format!("Invalid Arn: '{why}: {arn}'"));
    let mut parts = arn.splitn(6, ':');
    if parts.next() != Some("arn") {
        return Err(invalid("Invalid ARN prefix"));
    }
    let (Some(_), Some(service), Some(_), Some(_), Some(resource)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid("Invalid ARN prefix"));
    };
    if service != "states" {
        return Err(invalid("Invalid service name in ARN"));
    }
    match resource.split_once(':') {
        Some((found, rest)) if found == sort && !rest.is_empty() => Ok(rest),
        _ => Err(AwsError::new(
            "InvalidArn",
            format!(
                "Invalid Arn: 'Resource type not valid in this context: {}'",
                resource.split(':').next().unwrap_or_default()
            ),
        )),
    }
}

/// Reads the ARN of a state machine.
pub(super) fn machine(arn: &str) -> Result<MachineArn, AwsError> {
    let rest = rest(arn, "stateMachine")?;
    let (name, qualifier) = match rest.split_once(':') {
        None => (rest, None),
        Some((name, qualifier)) => match qualifier.parse() {
            Ok(version) => (name, Some(Qualifier::Version(version))),
            Err(_) => (name, Some(Qualifier::Alias(qualifier.to_owned()))),
        },
    };
    Ok(MachineArn { name: name.to_owned(), qualifier })
}

/// Reads the ARN of an execution: `machine:name`.
pub(super) fn execution(arn: &str) -> Result<&str, AwsError> {
    rest(arn, "execution").or_else(|error| rest(arn, "express").map_err(|_| error))
}

/// Reads the ARN of an execution whose history is kept: not one of an EXPRESS machine.
pub(super) fn kept_execution(arn: &str) -> Result<&str, AwsError> {
    rest(arn, "execution")
}

/// Reads the ARN of an activity.
pub(super) fn activity(arn: &str) -> Result<&str, AwsError> {
    rest(arn, "activity")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_read_back() {
        let place = Place::new(&Settings::default());
        let read = |arn: &str| machine(arn).expect("it is one");
        assert_eq!(read(&place.machine("a.b")).qualifier, None);
        assert_eq!(read(&place.version("a", 3)).qualifier, Some(Qualifier::Version(3)));
        assert_eq!(
            read(&place.alias("a", "live")).qualifier,
            Some(Qualifier::Alias("live".to_owned()))
        );
        assert_eq!(activity(&place.activity("x")), Ok("x"));
        assert_eq!(
            machine("not_a_valid_arn"),
            Err(AwsError::new("InvalidArn", "Invalid Arn: 'Invalid ARN prefix: not_a_valid_arn'"))
        );
        assert!(machine(&place.activity("x")).is_err());
        let express = place.express("a", "b");
        assert_eq!(execution(&express), Ok("a:b"));
        let wrong = "Invalid Arn: 'Resource type not valid in this context: express'";
        assert_eq!(kept_execution(&express), Err(AwsError::new("InvalidArn", wrong)));
    }
}
