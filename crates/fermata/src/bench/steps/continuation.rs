//! A continuation that is suspended and goes on again and again (`examples/guests/paced.c`). It tells
//! by the clock that it shares with the client when it was about to wait and when it was back.

use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::body::Incoming;
use runtime::kernel::monotonic_nanos;

use super::client::{Client, accepted};
use crate::load::connection::{Connection, get};
use crate::load::statistics::Latencies;

/// Memory that is changed in each turn.
const KIB: usize = 1_024;
/// Turns that are not counted: the first ones find nothing warm.
const WARM_UP: usize = 3;

/// What is in the memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Contents {
    /// It does not compress.
    Random,
    Text,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naps {
    pub(super) rounds: usize,
    pub(super) contents: Contents,
}

/// What it took.
#[derive(Default)]
pub(super) struct Napped {
    /// From its last instruction to the client's hearing that it is safely suspended.
    pub(super) suspends: Latencies,
    /// From the client's sending of the signal to its first instruction after.
    pub(super) resumes: Latencies,
}

impl Naps {
    pub(super) fn take(self, client: &Client) -> anyhow::Result<Napped> {
        let rounds = self.rounds + WARM_UP;
        let word = match self.contents {
            Contents::Random => "random",
            Contents::Text => "text",
        };
        let input = format!("{KIB} {rounds} {word}");
        client.run(async || {
            let mut connection = Connection::open(client.address).await?;
            let id = client.start(&mut connection, "paced", &input).await?;
            let mut tail = Tail::open(client, &id).await?;
            let (mut heard, mut sent) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                tail.until_suspended().await?;
                heard.push(monotonic_nanos());
                // What the suspension leaves to be done is no part of the resumption.
                tokio::time::sleep(Duration::from_millis(2)).await;
                sent.push(monotonic_nanos());
                let signal = client.post(&format!("/v1/executions/{id}/signals/go"), "");
                accepted(&connection.send(signal).await?)?;
            }
            let told = client.output(&mut connection, &id).await?;
            napped(&String::from_utf8_lossy(&told), &heard, &sent)
        })
    }
}

/// The times that the guest tells, beside the client's.
fn napped(told: &str, heard: &[u64], sent: &[u64]) -> anyhow::Result<Napped> {
    let mut napped = Napped::default();
    let lines: Vec<&str> = told.lines().collect();
    if lines.len() != heard.len() {
        bail!("it suspended {} times and tells of {}", heard.len(), lines.len());
    }
    for ((line, heard), sent) in lines.iter().zip(heard).zip(sent).skip(WARM_UP) {
        let (slept, woken) = line.split_once(' ').context("read its times")?;
        let (slept, woken): (u64, u64) = (slept.parse()?, woken.parse()?);
        let between = |from: u64, to: u64| {
            to.checked_sub(from).map(Duration::from_nanos).context("its clock is another one")
        };
        napped.suspends.record(between(slept, *heard)?);
        napped.resumes.record(between(*sent, woken)?);
    }
    Ok(napped)
}

/// An execution's history as it grows.
struct Tail {
    events: Incoming,
    /// What was read and not looked at.
    text: String,
    _connection: Connection,
}

impl Tail {
    async fn open(client: &Client, id: &str) -> anyhow::Result<Self> {
        let mut connection = Connection::open(client.address).await?;
        let request = get(client.address, &format!("/v1/executions/{id}/tail"));
        let events = connection.open_stream(request).await?;
        Ok(Self { events, text: String::new(), _connection: connection })
    }

    async fn until_suspended(&mut self) -> anyhow::Result<()> {
        use http_body_util::BodyExt as _;
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let is_it = event.lines().any(|line| line == "event: suspended");
                let has_ended = event.lines().any(|line| line == "event: ended");
                self.text = rest.to_owned();
                if has_ended {
                    bail!("it ended before its time");
                }
                if is_it {
                    return Ok(());
                }
            }
            let frame = self.events.frame().await.context("the tail ended")?;
            if let Ok(data) = frame.context("read the tail")?.into_data() {
                self.text.push_str(&String::from_utf8_lossy(&data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_apart_by_round_and_the_first_ones_left_out() {
        let told = "1 2\n3 4\n5 6\n1000 9000\n";
        let napped = napped(told, &[9, 9, 9, 4_000], &[0, 0, 0, 6_000]).unwrap();
        assert_eq!((napped.suspends.count(), napped.resumes.count()), (1, 1));
        assert_eq!(napped.suspends.quantile_us(0.5), Some(3.0));
        assert_eq!(napped.resumes.quantile_us(0.5), Some(3.0));
        assert!(super::napped(told, &[1], &[1]).is_err());
        assert!(super::napped("1 2\n1 2\n1 2\n10 1\n", &[0; 4], &[2; 4]).is_err());
    }
}
