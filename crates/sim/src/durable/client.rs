//! Clients: they ask again until they are answered, and look at what became of their execution.

use std::collections::VecDeque;

use engine::Verdict;
use engine::{Birth, Execution, Input, Payload, Refusal, SignalId, Status, Token, TokenAnswer};
use model::ExecutionId;
use policy::rng::Rng;

use super::program::Plan;
use super::{Event, MILLI, Message, Reply, What, World};

#[derive(Debug)]
pub(super) struct Client {
    pub(super) execution: ExecutionId,
    birth: Birth,
    todo: VecDeque<Request>,
    under_way: Option<(u64, Request)>,
    requests: u64,
    /// Signals whose sending was acknowledged, in that order.
    pub(super) acknowledged: Vec<String>,
    redrives: u32,
    cancels: bool,
    pauses: bool,
}

#[derive(Clone, Debug)]
enum Request {
    Start,
    Signal(u64),
    Token { text: String, heartbeats: u32, tries: u32 },
    Cancel,
    Pause,
    Resume,
    Redrive,
}

impl Request {
    /// What looking after the execution brought about.
    const fn is_upkeep(&self) -> bool {
        match self {
            Self::Start | Self::Cancel | Self::Pause | Self::Resume | Self::Redrive => true,
            Self::Signal(_) | Self::Token { .. } => false,
        }
    }
}

impl Client {
    pub(super) fn new(plan: &Plan, birth: Birth, rng: &mut Rng) -> Self {
        let mut todo = VecDeque::from([Request::Start]);
        todo.extend((0..plan.signals()).map(Request::Signal));
        Self {
            execution: birth.id,
            birth,
            todo,
            under_way: None,
            requests: 0,
            acknowledged: Vec::new(),
            redrives: 0,
            cancels: rng.below(8) == 0,
            pauses: rng.below(4) == 0,
        }
    }

    /// After what may open the execution again, before the signals that follow.
    fn ask_again(&mut self, request: Request) {
        let is_signal = |request: &Request| matches!(request, Request::Signal(_));
        let place = self.todo.iter().position(is_signal);
        self.todo.insert(place.unwrap_or(self.todo.len()), request);
    }

    pub(super) fn is_done(&self) -> bool {
        self.todo.is_empty() && self.under_way.is_none()
    }
}

impl World {
    /// A function gave a callback token away.
    pub(super) fn give_token(&mut self, text: &str, heartbeat_millis: Option<u64>) {
        let known = self.checker.knows_token(text);
        if known {
            return;
        }
        let client = self.rng.below(self.clients.len());
        let heartbeats =
            heartbeat_millis.map_or(0, |_| u32::try_from(self.rng.below(4)).expect("few"));
        let request = Request::Token { text: text.to_owned(), heartbeats, tries: 0 };
        self.clients[client].todo.push_front(request);
        let soon = self.draw_ms(60);
        self.at(soon, Event::ClientWakes(client));
    }

    pub(super) fn client_wakes(&mut self, index: usize) {
        self.look_after(index);
        let client = &mut self.clients[index];
        if client.under_way.is_none() {
            let Some(request) = client.todo.pop_front() else {
                if !self.is_settled(self.clients[index].execution) {
                    self.at(1_000 * MILLI, Event::ClientWakes(index));
                }
                return;
            };
            client.requests += 1;
            client.under_way = Some((client.requests, request));
        }
        self.send(index);
        let again = 200 * MILLI + self.draw_ms(500);
        self.at(again, Event::ClientWakes(index));
    }

    /// What a person would do who looks at the execution.
    fn look_after(&mut self, index: usize) {
        let id = self.clients[index].execution;
        let Some((_, execution)) = self.store.load(id) else { return };
        let calm = self.now > super::CALM_NS;
        let dice = self.rng.below(40);
        let client = &mut self.clients[index];
        if client.todo.iter().any(Request::is_upkeep) {
            return;
        }
        let request = match execution.status() {
            Status::Paused if calm || dice < 20 => Request::Resume,
            Status::Running | Status::Waiting if client.pauses && dice == 0 && !calm => {
                Request::Pause
            }
            Status::Running | Status::Waiting if client.cancels && dice == 1 && !calm => {
                client.cancels = false;
                Request::Cancel
            }
            Status::Failed | Status::Cancelled
                if client.redrives < 2 && execution.may_purge().is_ok() && dice < 10 =>
            {
                client.redrives += 1;
                Request::Redrive
            }
            _ => return,
        };
        client.todo.push_front(request);
    }

    fn send(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let (number, request) = client.under_way.clone().expect("something is under way");
        let mut to = client.execution;
        let what = match request {
            Request::Start => What::Start(Box::new(client.birth.clone())),
            Request::Signal(number) => What::Input(Input::Signal {
                name: "s".to_owned(),
                id: Some(SignalId(number + 1)),
                payload: signal_text(number).into_bytes().into(),
            }),
            Request::Token { text, heartbeats, .. } => {
                let token = Token::parse(&text).expect("our own");
                to = token.execution;
                let tenant = "sim".parse().expect("a name");
                let answer = if heartbeats > 0 {
                    TokenAnswer::Heartbeat
                } else {
                    TokenAnswer::Ended(Ok(Payload::Inline(b"called back".to_vec())))
                };
                What::Input(Input::Token { tenant, token, answer })
            }
            Request::Cancel => What::Input(Input::Cancel { reason: "as planned".to_owned() }),
            Request::Pause => What::Input(Input::Pause { reason: "as planned".to_owned() }),
            Request::Resume => What::Input(Input::Resume { reason: String::new() }),
            Request::Redrive => What::Redrive,
        };
        let reply = Reply::Client { client: index, request: number };
        for delay in self.network() {
            let message = Message { to, what: what.clone(), reply };
            self.at(delay, Event::Remote(message));
        }
    }

    /// Delays of the copies that arrive.
    fn network(&mut self) -> Vec<u64> {
        let mut copies = Vec::new();
        if !self.chance(self.config.faults.network) {
            copies.push(self.draw_ms(20));
        }
        if self.chance(self.config.faults.network) {
            copies.push(self.draw_ms(4_000));
        }
        copies
    }

    pub(super) fn tell_client(&mut self, client: usize, request: u64, verdict: Option<&Verdict>) {
        self.checker.tells(client, request);
        for delay in self.network() {
            let verdict = verdict.cloned();
            self.at(delay, Event::ClientHears { client, request, verdict });
        }
    }

    pub(super) fn client_hears(&mut self, index: usize, number: u64, verdict: Option<Verdict>) {
        let roots: Vec<ExecutionId> = self.clients.iter().map(|client| client.execution).collect();
        let is_root =
            |text: &str| Token::parse(text).is_ok_and(|token| roots.contains(&token.execution));
        let calm = self.now > super::CALM_NS + 10_000 * MILLI;
        let client = &mut self.clients[index];
        let Some((_, request)) = client.under_way.take_if(|(known, _)| *known == number) else {
            return;
        };
        match request {
            Request::Signal(number) => match verdict {
                Some(Verdict::Applied | Verdict::Duplicate) => {
                    client.acknowledged.push(signal_text(number));
                }
                // It may be redriven yet, by a request that is late.
                Some(Verdict::Refused(Refusal::Ended(status))) => {
                    let may_open = client.redrives < 2 || !calm;
                    if status != Status::Succeeded && may_open {
                        client.ask_again(Request::Signal(number));
                    }
                }
                other => panic!("check failed: a signal was answered {other:?}"),
            },
            Request::Token { text, heartbeats, tries } => {
                // Not there yet, or not yet known to be: its turn is about to end.
                let early = match verdict {
                    None | Some(Verdict::Refused(Refusal::TokenDropped)) => tries < 40,
                    Some(Verdict::Refused(Refusal::Ended(_))) => is_root(&text) && tries < 200,
                    _ => false,
                };
                if heartbeats > 0 || early {
                    let heartbeats = heartbeats.saturating_sub(1);
                    let again = Request::Token { text, heartbeats, tries: tries + 1 };
                    client.ask_again(again);
                }
            }
            Request::Start
            | Request::Cancel
            | Request::Pause
            | Request::Resume
            | Request::Redrive => {}
        }
    }

    /// Whether nothing is to be done for an execution any more.
    pub(super) fn is_settled(&self, id: ExecutionId) -> bool {
        let Some(row) = self.store.rows.get(&id) else { return false };
        let execution = Execution::decode(&row.state).expect("as it was encoded");
        execution.may_purge().is_ok() && row.outbox.is_empty()
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.shell.up
            && self.shell.batch.is_none()
            && self.shell.inbox.is_empty()
            && self.clients.iter().all(Client::is_done)
            && self.store.rows.keys().all(|id| self.is_settled(*id))
    }
}

pub(super) fn signal_text(number: u64) -> String {
    format!("signal {number:04}")
}
