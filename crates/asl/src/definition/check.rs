//! What can be seen only when all states of a chart are known.

use super::problem::Code;
use super::reader::Reader;
use super::{Chart, Kind, State, StateId};

/// Every state is reached, and one of them ends the chart.
pub(super) fn chart(reader: &mut Reader, chart: &Chart, place: &str) {
    let mut reached = vec![false; chart.states.len()];
    let mut open = vec![chart.start];
    while let Some(StateId(at)) = open.pop() {
        let Some(seen) = reached.get_mut(at as usize) else { continue };
        if *seen {
            continue;
        }
        *seen = true;
        open.extend(targets(&chart.states[at as usize]));
    }
    for (state, reached) in chart.states.iter().zip(&reached) {
        if !reached {
            reader.problem(
                Code::MissingTransitionTarget,
                &format!("{place}/States/{}", state.name),
                format!("State \"{}\" is not reachable.", state.name),
            );
        }
    }
    if !chart.states.iter().any(is_terminal) {
        reader.problem(
            Code::MissingEndState,
            super::parse::or_root(place),
            "The workflow does not have a terminal state",
        );
    }
}

fn is_terminal(state: &State) -> bool {
    match state.kind {
        Kind::Succeed | Kind::Fail(_) => true,
        // A choice whose rules may all fail ends the chart as well, but badly: AWS wants an end.
        Kind::Choice(_) => false,
        Kind::Pass { .. } | Kind::Task(_) | Kind::Wait(_) | Kind::Parallel(_) | Kind::Map(_) => {
            state.next.is_none()
        }
    }
}

fn targets(state: &State) -> Vec<StateId> {
    let mut targets: Vec<StateId> = state.next.into_iter().collect();
    if let Kind::Choice(choice) = &state.kind {
        targets.extend(choice.rules.iter().map(|rule| rule.next));
        targets.extend(choice.default);
    }
    if let Some(recovery) = state.kind.recovery() {
        targets.extend(recovery.catchers.iter().map(|catcher| catcher.next));
    }
    targets
}
