//! What a redrive does again of a turn that failed, and what it does not.

use std::convert::Infallible;
use std::time::Duration;

use engine::{
    Birth, Execution, Input, Orchestrator, Output, Payload, Payloads, Record, Token, TokenAnswer,
};
use model::suspend::{OpId, Resolution};
use model::{ClassId, ExecutionId, Failure, FailureKind, Timestamp, Version};

use super::{Place, Quotas, StateMachines};
use crate::executions::{Interpreter, Source};

/// Keeps everything inline.
struct Inline;

impl Payloads for Inline {
    type Error = Infallible;

    fn load(&mut self, payload: &Payload) -> Result<Vec<u8>, Infallible> {
        match payload {
            Payload::Inline(bytes) => Ok(bytes.clone()),
            Payload::Stored { .. } => unreachable!("nothing is stored"),
        }
    }

    fn keep(&mut self, bytes: Vec<u8>, _: usize) -> Result<Payload, Infallible> {
        Ok(Payload::Inline(bytes))
    }
}

struct Run {
    execution: Execution,
    orchestrator: std::sync::Arc<dyn Orchestrator>,
    calls: Vec<engine::Call>,
    history: Vec<Record>,
    output: Option<Result<Payload, Failure>>,
}

impl Run {
    fn start(definition: &str) -> Self {
        let place = Place { account: "000000000000".into(), region: "us-east-1".into() };
        let function = "machine".parse().unwrap();
        let source =
            Source { definition: definition.as_bytes(), function: &function, environment: &[] };
        let machines = StateMachines::new(place, Quotas::Aws, 0, Default::default());
        let orchestrator = machines.parse(&source).unwrap();
        let birth = Birth {
            id: ExecutionId(1),
            tenant: "t".parse().unwrap(),
            function,
            version: Version(1),
            class: ClassId(0),
            max_class: ClassId(0),
            depth: 0,
            parent: None,
            input: b"{}".to_vec().into(),
            timeout: Duration::from_secs(60),
            secret: [7; 32],
            origin: Vec::new(),
        };
        let mut out = Vec::new();
        let execution = Execution::start(Timestamp(1), birth, &mut out);
        let (calls, history, output) = (Vec::new(), Vec::new(), None);
        let mut run = Self { execution, orchestrator, calls, history, output };
        run.go_on(out);
        run
    }

    fn go_on(&mut self, mut out: Vec<Output>) {
        let (execution, orchestrator) = (&mut self.execution, &*self.orchestrator);
        let done = engine::run_turns(execution, orchestrator, &mut Inline, Timestamp(1), &mut out);
        done.unwrap();
        for output in out {
            match output {
                Output::Effect(engine::Effect::Invoke(call)) => self.calls.push(call),
                Output::History(record) => self.history.push(record),
                Output::Ended { outcome } => self.output = Some(outcome),
                _ => {}
            }
        }
    }

    /// These calls end, and one turn hears of all of them.
    fn ends(&mut self, ends: Vec<(engine::Call, Resolution<Payload>)>) {
        let mut out = Vec::new();
        for (call, resolution) in ends {
            let used = engine::Totals::default();
            let input = Input::Resolved { op: call.op, id: call.id, resolution, used };
            let verdict = self.execution.step(Timestamp(1), input, &mut out);
            assert_eq!(verdict, engine::Verdict::Applied);
        }
        self.go_on(out);
    }

    /// Who has this token says that it failed.
    fn token_failed(&mut self, token: &str) {
        let failure = asl::answer::failure(FailureKind::Handler, Some("Refused"), None);
        let answer = TokenAnswer::Ended(Err(failure));
        let (tenant, token) = ("t".parse().unwrap(), Token::parse(token).unwrap());
        let mut out = Vec::new();
        let input = Input::Token { tenant, token, answer };
        assert_eq!(self.execution.step(Timestamp(1), input, &mut out), engine::Verdict::Applied);
        self.go_on(out);
    }

    /// The call of that function, once.
    fn call_of(&mut self, function: &str) -> engine::Call {
        let at = self.calls.iter().position(|call| call.function == function);
        self.calls.remove(at.unwrap_or_else(|| panic!("{function} is not called")))
    }

    /// The events that its turns noted.
    fn told(&self) -> Vec<asl::history::EventKind> {
        let notes = self.history.iter().filter_map(|record| match &record.event {
            engine::Event::Note(Payload::Inline(bytes)) => Some(asl::history::decode(bytes)),
            _ => None,
        });
        notes.flatten().map(|event| event.kind).collect()
    }

    fn redrive(&mut self) -> Vec<OpId> {
        let ops = self.execution.redrive_asks();
        let asks = engine::history::asks_of(self.history.iter(), &ops);
        let mut out = Vec::new();
        let redrive = Input::Redrive { reason: String::new(), asks };
        assert_eq!(self.execution.step(Timestamp(1), redrive, &mut out), engine::Verdict::Applied);
        self.go_on(out);
        ops
    }
}

fn broken() -> Resolution<Payload> {
    Resolution::Failed(Failure::new(FailureKind::Handler, "broken"))
}

#[test]
fn a_failure_that_was_caught_beside_the_fatal_one_is_not_repeated() {
    let task = |function: &str, more: &str| {
        let resource = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}");
        format!(r#"{{"Type":"Task","Resource":"{resource}","End":true{more}}}"#)
    };
    let caught = task("a", r#","Catch":[{"ErrorEquals":["States.ALL"],"Next":"Caught"}]"#);
    let fatal = task("b", "");
    let definition = format!(
        r#"{{"StartAt":"P","States":{{"P":{{"Type":"Parallel","End":true,"Branches":[
            {{"StartAt":"A","States":{{"A":{caught},
                "Caught":{{"Type":"Pass","Result":"caught","End":true}}}}}},
            {{"StartAt":"B","States":{{"B":{fatal}}}}}]}}}}}}"#
    );
    let mut run = Run::start(&definition);
    let (a, b) = (run.call_of("a"), run.call_of("b"));
    let b_op = b.op;
    run.ends(vec![(a, broken()), (b, broken())]);
    assert!(matches!(run.output, Some(Err(_))), "{:?}", run.output);
    assert_eq!(run.redrive(), [b_op]);
    let again = run.call_of("b");
    assert!(run.calls.is_empty(), "{:?}", run.calls);
    run.ends(vec![(again, Resolution::Ok(b"2".to_vec().into()))]);
    let Some(Ok(Payload::Inline(output))) = run.output else { panic!("{:?}", run.output) };
    assert_eq!(String::from_utf8(output).unwrap(), r#"["caught",2]"#);
}

#[test]
fn a_call_that_is_made_again_is_told_of_again() {
    let definition = r#"{"StartAt":"T","States":{"T":{"Type":"Task","End":true,
        "Resource":"arn:aws:lambda:us-east-1:000000000000:function:f"}}}"#;
    let mut run = Run::start(definition);
    let call = run.call_of("f");
    run.ends(vec![(call, broken())]);
    run.redrive();
    let call = run.call_of("f");
    run.ends(vec![(call, Resolution::Ok(b"1".to_vec().into()))]);
    let told: Vec<&str> = run.told().iter().map(|kind| kind.name()).collect();
    let expected = [
        "ExecutionStarted",
        "TaskStateEntered",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionFailed",
        "ExecutionFailed",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_failed_after_the_fatal_one_is_done_again() {
    let task = |name: &str| {
        let resource = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
        let task = format!(r#"{{"Type":"Task","Resource":"{resource}","End":true}}"#);
        format!(r#"{{"StartAt":"{name}","States":{{"{name}":{task}}}}}"#)
    };
    let (a, b) = (task("a"), task("b"));
    let parallel = format!(r#"{{"Type":"Parallel","End":true,"Branches":[{a},{b}]}}"#);
    let mut run = Run::start(&format!(r#"{{"StartAt":"P","States":{{"P":{parallel}}}}}"#));
    let (a, b) = (run.call_of("a"), run.call_of("b"));
    let both = [a.op, b.op];
    run.ends(vec![(a, broken()), (b, broken())]);
    assert_eq!(run.redrive(), both);
}

#[test]
fn a_task_that_its_token_failed_begins_again_with_another_token() {
    let definition = r#"{"StartAt":"T","States":{"T":{"Type":"Task","End":true,
        "Resource":"arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters":{"FunctionName":"f","Payload":{
            "token.$":"$$.Task.Token","redrives.$":"$$.Execution.RedriveCount"}}}}}"#;
    let said = |call: &engine::Call| -> (String, u64) {
        let Payload::Inline(payload) = &call.payload else { panic!("it is small") };
        let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
        (payload["token"].as_str().unwrap().to_owned(), payload["redrives"].as_u64().unwrap())
    };
    let mut run = Run::start(definition);
    for redrives in 0..3 {
        let call = run.call_of("f");
        let (token, counted) = said(&call);
        assert_eq!(counted, redrives);
        run.ends(vec![(call, Resolution::Ok(b"{}".to_vec().into()))]);
        run.output = None;
        run.token_failed(&token);
        assert!(matches!(run.output, Some(Err(_))), "{:?}", run.output);
        assert_eq!(run.redrive(), []);
    }
    assert!(matches!(run.output, Some(Err(_))), "the last failure is not repeated");
    assert_eq!(run.call_of("f").function, "f");
}

#[test]
fn a_task_is_called_again_where_its_answer_was_of_no_use_and_not_beside_it() {
    let task = |name: &str, more: &str| {
        let resource = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
        format!(
            r#"{{"StartAt":"{name}","States":{{"{name}":{{"Type":"Task","Resource":"{resource}",
                "ResultSelector":{{"n.$":"$.n"}},"Next":"E-{name}"{more}}},"E-{name}":{{"Type":"Pass","End":true}}}}}}"#
        )
    };
    let caught = r#","Catch":[{"ErrorEquals":["States.ALL"],"Next":"E-caught"}]"#;
    let branches =
        [task("fine", ""), task("bad", ""), task("late", ""), task("caught", caught)].join(",");
    let parallel = format!(r#"{{"Type":"Parallel","End":true,"Branches":[{branches}]}}"#);
    let mut run = Run::start(&format!(r#"{{"StartAt":"P","States":{{"P":{parallel}}}}}"#));
    let answer = |text: &str| Resolution::Ok(text.as_bytes().to_vec().into());
    let good = r#"{"n":1}"#;
    let large = format!("\"{}\"", "x".repeat(model::limits::ASL_DATA_BYTES_DEFAULT));
    let ends = [("fine", good), ("bad", "{}"), ("late", good), ("caught", large.as_str())];
    let ends = ends.map(|(name, text)| (run.call_of(name), answer(text)));
    run.ends(ends.into());
    assert!(matches!(run.output, Some(Err(_))), "{:?}", run.output);
    assert_eq!(run.redrive(), [], "no call failed");
    let called: Vec<String> = run.calls.iter().map(|call| call.function.clone()).collect();
    assert_eq!(called, ["bad"]);
    let again = run.call_of("bad");
    run.ends(vec![(again, answer(r#"{"n":2}"#))]);
    let Some(Ok(Payload::Inline(output))) = run.output else { panic!("{:?}", run.output) };
    let output = String::from_utf8(output).unwrap();
    assert!(output.starts_with(r#"[{"n":1},{"n":2},{"n":1},{"Error":""#), "{output}");
}
