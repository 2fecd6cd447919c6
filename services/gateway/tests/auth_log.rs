//! Keys are in no log line, no error and no debug text, at the most talkative level of every crate.
//!
//! The only test of its process: tracing decides per call site and process whether a line is worth making.

#![allow(clippy::expect_used, clippy::panic)]

mod keyed;
mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use keyed::{call, entry, new_key, start};
use tracing_subscriber::fmt::MakeWriter;
use unipic_client::ApiKey;
use unipic_gateway::auth::{AuthConfig, Keys};
use unipic_measures::measured;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn keys_are_nowhere_to_be_read() {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(kept.clone()).finish();
    // This thread's only, and the runtime has no other.
    let _default = tracing::subscriber::set_default(subscriber);

    let (right, ended, wrong) = (new_key(), new_key(), new_key());
    let keys = vec![entry("acme", &right, None), entry("acme", &ended, Some(-1))];
    let gateway = start(keys.clone(), false).await;
    let mut said = String::new();
    for key in [&right, &ended, &wrong] {
        let api_key = ApiKey::new(&key.key).expect("a key");
        let client = gateway.client().with_api_key(api_key.clone());
        let answer = client.get_model().await;
        said += &format!("{client:?} {api_key:?} {answer:?}");
        if let Err(error) = answer {
            said += &format!("{error} {:?}", error.status());
        }
        // By a client that does not mark its header as sensitive, too.
        let channel = gateway.channel().await;
        let bearer = format!("Bearer {}", key.key);
        for headers in [&[("authorization", bearer.as_str())], &[("x-api-key", key.key.as_str())]] {
            said += &format!("{:?}", call(&channel, "/unipic.v1.UniPic/GetModel", headers).await);
        }
    }
    let auth = AuthConfig { keys, ..AuthConfig::default() };
    said += &format!("{auth:?} {:?}", Keys::new(&auth));

    let log = String::from_utf8(kept.0.lock().expect("lock").clone()).expect("text");
    // It listened: transport, ours, and a line about the key whose time is over.
    for line in ["h2::", "unipic.v1.UniPic", "a key whose time is over was used", "acme"] {
        assert!(log.contains(line), "{line} is not in the log");
    }
    let keys = [&right, &ended, &wrong].map(|key| key.key.trim_start_matches("unipic_"));
    let n_seen = |text: &str| keys.iter().map(|key| text.matches(key).count()).sum::<usize>();
    measured!("keys looked for", keys.len());
    measured!("lines of log at the level of TRACE", log.lines().count());
    measured!("bytes of errors and debug texts", said.len());
    measured!("sightings", n_seen(&log) + n_seen(&said));
    assert_eq!((n_seen(&log), n_seen(&said)), (0, 0), "in the log, and in an error or a debug text");
}
