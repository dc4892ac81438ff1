//! Definitions that were read lately, so that not each start of an EXPRESS execution reads one again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use asl::definition::{Definition, MachineType, parse, summary};
use model::limits;
use sha2::{Digest as _, Sha256};

use super::error::AwsError;

/// By their text and type.
#[derive(Default)]
pub(super) struct Definitions(Mutex<BTreeMap<[u8; 32], Arc<Definition>>>);

impl Definitions {
    pub(super) fn read(&self, text: &str, sort: MachineType) -> Result<Arc<Definition>, AwsError> {
        let key = Sha256::new().chain_update(sort.as_str()).chain_update(text).finalize().into();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(definition) = known.get(&key) {
            return Ok(Arc::clone(definition));
        }
        let definition = parse(text, sort)
            .into_result()
            .map_err(|problems| AwsError::new("InvalidDefinition", summary(&problems)))?;
        let definition = Arc::new(definition);
        if known.len() >= limits::ASL_DEFINITIONS_KEPT_MAX {
            known.clear();
        }
        known.insert(key, Arc::clone(&definition));
        Ok(definition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_read_once_until_too_many_others_were() {
        let definitions = Definitions::default();
        let read = |number: usize| {
            let text = format!(
                r#"{{"Comment":"{number}","StartAt":"P","States":{{"P":{{"Type":"Pass","End":true}}}}}}"#
            );
            definitions.read(&text, MachineType::Express).expect("it is right")
        };
        let first = read(0);
        (1..limits::ASL_DEFINITIONS_KEPT_MAX).for_each(|number| drop(read(number)));
        assert!(Arc::ptr_eq(&first, &read(0)));
        drop(read(limits::ASL_DEFINITIONS_KEPT_MAX));
        assert!(!Arc::ptr_eq(&first, &read(0)));
        let wrong = definitions.read("{}", MachineType::Express);
        assert_eq!(wrong.expect_err("it is wrong").code(), "InvalidDefinition");
    }
}
