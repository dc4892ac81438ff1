//! A journey: its legs are booked one after the other and undone in the opposite order where one
//! fails. Input: the legs, separated by spaces.

#[path = "../../../sdk/rust-wasm/fermata.rs"]
mod fermata;

use std::collections::BTreeMap;

use fermata::{call, either, signal, sleep, Either, Error};

fermata::function!(|input: Vec<u8>| async move {
    let text = String::from_utf8_lossy(&input).into_owned();
    let mut booked: BTreeMap<usize, (String, Vec<u8>)> = BTreeMap::new();
    let mut fares = 0.0;
    for (number, leg) in text.split_whitespace().enumerate() {
        fermata::set_status(&format!("booking {}", leg));
        match book(leg).await {
            Ok(ticket) => {
                fares += ticket.len() as f64 * 1.25;
                booked.insert(number, (leg.to_owned(), ticket));
            }
            Err(error) => {
                let undone = undo(booked).await?;
                return Ok(format!("{} failed ({}); undone: {}", leg, error.message, undone).into());
            }
        }
    }
    let legs: Vec<String> = booked
        .values()
        .map(|(leg, ticket)| format!("{}={}", leg, String::from_utf8_lossy(ticket)))
        .collect();
    let confirmed = match either(signal("confirm"), sleep(3_600_000)).await {
        Either::First(by) => format!("confirmed by {}", String::from_utf8_lossy(&by?)),
        Either::Second(_) => "not confirmed".to_owned(),
    };
    Ok(format!("{}; {}; {:.2}", legs.join(", "), confirmed, fares).into())
});

/// Tries twice, with a pause between.
async fn book(leg: &str) -> Result<Vec<u8>, Error> {
    match call("book", leg.as_bytes()).await {
        Ok(ticket) => Ok(ticket),
        Err(_) => {
            sleep(1000).await?;
            call("book", leg.as_bytes()).await
        }
    }
}

async fn undo(booked: BTreeMap<usize, (String, Vec<u8>)>) -> Result<String, Error> {
    let mut undone = Vec::new();
    for (leg, ticket) in booked.into_values().rev() {
        call("cancel", &ticket).await?;
        undone.push(leg);
    }
    Ok(undone.join(", "))
}
