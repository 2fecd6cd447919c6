//! A replica's own word on whether it takes calls, watched in the background.
//!
//! `grpc.health.v1.Watch` tells a change at once: a replica that drains is passed over before it refuses a call, and one
//! whose process or network dies is known to be gone before a call finds out. Servers without the service are taken as
//! they come.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::replica::{Condition, Health};

/// Until one that loads or stops is asked again. Its watch is given up meanwhile: a server that stops waits for those who
/// hold a stream open.
const NOT_SERVING_PAUSE: Duration = Duration::from_millis(250);
/// Until one that cannot be reached is tried again, for the first time and at most; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Until one that has no health service is asked again.
const SILENT_PAUSE: Duration = Duration::from_secs(30);

/// How a watch ended.
enum End {
    NotServing,
    Silent,
    /// Whether anything was heard before.
    Lost {
        heard: bool,
    },
}

/// Watches for ever.
pub(crate) async fn follow(channel: Channel, condition: Arc<Condition>) {
    let mut losses = 0_u32;
    loop {
        let end = watch(channel.clone(), &condition).await;
        let (health, pause) = match end {
            End::NotServing => (Health::NotServing, NOT_SERVING_PAUSE),
            End::Silent => (Health::Unknown, SILENT_PAUSE),
            End::Lost { heard } => {
                losses = if heard { 0 } else { losses.saturating_add(1) };
                let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(losses)).min(LONGEST_PAUSE);
                (Health::Unreachable, pause)
            }
        };
        condition.says(health);
        tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
    }
}

/// One watch, for as long as the replica serves.
async fn watch(channel: Channel, condition: &Condition) -> End {
    let mut changes = match HealthClient::new(channel).watch(HealthCheckRequest::default()).await {
        Ok(response) => response.into_inner(),
        Err(status) => return ended(&status, false),
    };
    let mut heard = false;
    loop {
        match changes.message().await {
            Ok(Some(change)) if change.status() == ServingStatus::Serving => condition.says(Health::Serving),
            Ok(Some(_)) => return End::NotServing,
            Ok(None) => return End::Lost { heard },
            Err(status) => return ended(&status, heard),
        }
        heard = true;
    }
}

/// A server that answers, if only that it does not say, is there.
fn ended(status: &Status, heard: bool) -> End {
    match status.code() {
        Code::Unimplemented | Code::NotFound | Code::Unauthenticated | Code::PermissionDenied => End::Silent,
        _ => End::Lost { heard },
    }
}
