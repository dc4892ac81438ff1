//! How AWS's SDK for Java names what models name, and Step Functions after it.

use crate::outside::Way;

/// The words of a name: `ACMSuccess` and `acm-success` are two.
fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for (at, &c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            words.extend(Some(std::mem::take(&mut word)));
            continue;
        }
        let before = at.checked_sub(1).map(|at| chars[at]);
        let after = |n: usize| chars.get(at + n).copied().unwrap_or(' ');
        let begins = before.is_some_and(|before| {
            // A small letter, then a large one that is not the last.
            let camel = before.is_ascii_lowercase()
                && c.is_ascii_uppercase()
                && after(1).is_ascii_alphanumeric();
            // The last of large letters belongs to what follows.
            let acronym = before.is_ascii_uppercase()
                && c.is_ascii_uppercase()
                && after(1).is_ascii_lowercase();
            let number = before.is_ascii_digit() && c.is_ascii_alphabetic();
            camel || acronym || number
        });
        if begins {
            words.extend(Some(std::mem::take(&mut word)));
        }
        word.push(c.to_ascii_lowercase());
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Words that each begin with a large letter.
pub(in crate::outside) fn pascal(name: &str) -> String {
    words(name).iter().map(|word| capital(word)).collect()
}

/// The client of a service, by the service's id.
pub(super) fn client(id: &str) -> String {
    let name = pascal(id);
    let name = name.strip_prefix("Amazon").unwrap_or(&name);
    let name = name.strip_prefix("Aws").unwrap_or(name);
    name.strip_suffix("Service").unwrap_or(name).to_owned()
}

/// An action as a state names it.
pub(super) fn action(operation: &str) -> String {
    uncapital(operation)
}

/// A member as a state sees it: the older client behind integrations of their own keeps names, the newer
/// one behind `aws-sdk:…` has `DbInstances` for `DBInstances`.
pub(super) fn member(name: &str, way: Way) -> String {
    match way {
        Way::Optimized => capital(name),
        Way::Plain => capital(&uncapital(name)),
    }
}

/// Small letters at the beginning, up to the last large one before a small one.
fn uncapital(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut small = 1;
    while chars.get(small).is_some_and(char::is_ascii_uppercase)
        && !chars.get(small + 1).is_some_and(char::is_ascii_lowercase)
    {
        small += 1;
    }
    let letters = chars.iter().enumerate();
    letters.map(|(at, c)| if at < small { c.to_ascii_lowercase() } else { *c }).collect()
}

/// A large first letter.
pub(in crate::outside) fn capital(text: &str) -> String {
    with_first(text, char::to_ascii_uppercase)
}

/// A small first letter.
pub(in crate::outside) fn small(text: &str) -> String {
    with_first(text, char::to_ascii_lowercase)
}

fn with_first(text: &str, to: fn(&char) -> char) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| to(&first).to_string() + chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_named_after_the_words_of_a_services_id() {
        for (id, expected) in [
            ("DynamoDB", "DynamoDb"),
            ("SQS", "Sqs"),
            ("EC2", "Ec2"),
            ("S3 Control", "S3Control"),
            ("Route 53", "Route53"),
            ("ACM PCA", "AcmPca"),
            ("IoT Data Plane", "IotDataPlane"),
            ("ApiGatewayV2", "ApiGatewayV2"),
            ("Elastic Load Balancing v2", "ElasticLoadBalancingV2"),
            ("Config Service", "Config"),
            ("Cognito Identity Provider", "CognitoIdentityProvider"),
        ] {
            assert_eq!(client(id), expected);
        }
    }

    #[test]
    fn members_have_large_first_letters_and_the_newer_client_takes_acronyms_apart() {
        for (name, plain, optimized) in [
            ("vpcId", "VpcId", "VpcId"),
            ("ETag", "ETag", "ETag"),
            ("DBInstances", "DbInstances", "DBInstances"),
            ("ChecksumCRC32", "ChecksumCRC32", "ChecksumCRC32"),
            ("SSEKMSKeyId", "SsekmsKeyId", "SSEKMSKeyId"),
            ("BOOL", "Bool", "BOOL"),
            ("S", "S", "S"),
        ] {
            assert_eq!(member(name, Way::Plain), plain);
            assert_eq!(member(name, Way::Optimized), optimized);
        }
        assert_eq!(action("DescribeDBInstances"), "describeDBInstances");
        assert_eq!(action("ListObjectsV2"), "listObjectsV2");
    }
}
