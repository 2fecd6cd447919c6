//! `top`: what servers do now, from the metrics that they export anyway. Plain text drawn again, so it needs nothing of a
//! terminal but that its screen can be cleared.

mod figures;
mod metrics;
mod scrape;
mod table;

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use console::Term;
use serde_json::json;

use crate::args::Top;
use crate::failure::wrong;
use crate::health::Unhealthy;
use crate::progress::Progress;
use figures::Span;
use scrape::{Address, Look, look};

/// A look at all servers, in their order.
struct Looks {
    at: Instant,
    seconds_since_1970: f64,
    looks: Vec<Result<Look, String>>,
}

/// Looks at servers until ctrl-c, or once.
///
/// # Errors
/// When an address is none, standard output takes no more, or, with --once, a server does not answer.
pub(crate) async fn top(args: &Top, progress: &Progress) -> anyhow::Result<()> {
    let addresses = args.servers.iter().map(|text| text.parse().map_err(wrong)).collect::<anyhow::Result<Vec<_>>>()?;
    if args.once {
        let looks = all(&addresses).await;
        show(&addresses, &looks, None, progress)?;
        let silent =
            looks.looks.iter().zip(&addresses).find_map(|(look, address)| Some((look.as_ref().err()?, address)));
        return match silent {
            None => Ok(()),
            Some((problem, address)) => Err(Unhealthy::Unreachable(format!("{address}: {problem}")).into()),
        };
    }
    tokio::select! {
        ended = watch(&addresses, Duration::from_secs(args.every.into()), progress) => ended,
        // The usual end of it.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn watch(addresses: &[Address], every: Duration, progress: &Progress) -> anyhow::Result<()> {
    let mut before = None;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looks = all(addresses).await;
        let term = Term::stdout();
        if term.is_term() && !progress.is_json() {
            term.clear_screen().context("clear the screen")?;
        }
        show(addresses, &looks, before.as_ref(), progress)?;
        before = Some(looks);
    }
}

async fn all(addresses: &[Address]) -> Looks {
    let looks = futures::future::join_all(addresses.iter().map(look)).await;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Looks { at: Instant::now(), seconds_since_1970: since_1970.as_secs_f64(), looks }
}

fn show(addresses: &[Address], looks: &Looks, before: Option<&Looks>, progress: &Progress) -> anyhow::Result<()> {
    let now = looks.seconds_since_1970;
    let mut spans = Vec::new();
    let mut rows = Vec::new();
    for (at, (address, seen)) in addresses.iter().zip(&looks.looks).enumerate() {
        let row = match seen {
            Err(problem) => Err(problem.clone()),
            Ok(seen) => {
                let earlier = before.and_then(|before| {
                    let earlier = before.looks.get(at)?.as_ref().ok()?;
                    Some((&earlier.metrics, (looks.at - before.at).as_secs_f64()))
                });
                let span = Span::new(&seen.metrics, earlier, now);
                let process = span.process(now);
                spans.push(span);
                Ok((process, seen.is_ready))
            }
        };
        rows.push((address, row));
    }
    let kinds = figures::kinds(&spans);
    if progress.is_json() {
        let server = |(address, row): &table::Row<'_>| match row {
            Ok((process, is_ready)) => json!({ "server": address.to_string(), "ready": is_ready, "figures": process }),
            Err(problem) => json!({ "server": address.to_string(), "error": problem }),
        };
        let servers: Vec<_> = rows.iter().map(server).collect();
        progress.event("top", json!({ "servers": servers, "batches": kinds }));
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    out.write_all(table::text(&rows, &kinds).as_bytes()).and_then(|()| out.flush()).context("write the table")
}
