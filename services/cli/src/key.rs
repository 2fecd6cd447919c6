//! `key`: keys for clients, and what the server's configuration says of them.

use serde_json::json;
use unipic_gateway::auth::{AuthConfig, KeyConfig, NewKey};
use unipic_serving::{Problems, Validate};

use crate::args::Key;
use crate::failure::wrong;
use crate::progress::Progress;

/// Makes a key and prints it with its hash and configuration.
///
/// # Errors
/// When the system gives no random bytes, or the tenant or the time is none that a configuration takes.
pub(crate) fn run(command: &Key, progress: &Progress) -> anyhow::Result<()> {
    let Key::New(args) = command;
    let NewKey { key, sha256 } = NewKey::random()?;
    let entry = KeyConfig { tenant: args.tenant.clone(), sha256, not_after: args.not_after.clone() };
    let config = AuthConfig { keys: vec![entry.clone()], ..AuthConfig::default() };
    let mut problems = Problems::default();
    config.validate(&mut problems);
    if let Some(problem) = problems.found().first() {
        return Err(wrong(problem.trim_start_matches("keys.0.")));
    }
    let lines = lines(&entry);
    progress.text(&match progress.is_json() {
        true => json!({ "key": key, "sha256": entry.sha256, "config": lines }).to_string(),
        false => format!("key (shown only now): {key}\nsha256: {}\n\n{lines}", entry.sha256),
    });
    Ok(())
}

/// The entry as a configuration file has it. Tenants and times are plain text, as validation has seen to.
fn lines(entry: &KeyConfig) -> String {
    let mut lines = format!("[[auth.keys]]\ntenant = \"{}\"\nsha256 = \"{}\"", entry.tenant, entry.sha256);
    if let Some(time) = &entry.not_after {
        lines.push_str(&format!("\nnot_after = \"{time}\""));
    }
    lines
}

#[cfg(test)]
mod tests {
    use unipic_node::Config;

    use super::*;

    #[test]
    fn the_lines_are_a_configuration_that_lets_the_key_in() {
        let NewKey { key, sha256 } = NewKey::random().unwrap();
        let not_after = Some("2999-01-31T00:00:00Z".to_owned());
        let entry = KeyConfig { tenant: "acme".to_owned(), sha256, not_after };
        let text = lines(&entry);
        assert!(!text.contains(key.trim_start_matches("unipic_")));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let none = figment::Figment::new();
        let config: Config = unipic_serving::config::load(Some(file.path()), "UNIPIC_TEST_NONE_", none).unwrap();
        assert_eq!(config.auth.keys, [entry]);
    }
}
