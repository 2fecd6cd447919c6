//! Why a saved state is not this recipe's, in words that say what to change.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

/// The recipe in a run's folder.
pub(super) const RECIPE: &str = "recipe.toml";

/// What is told where nothing is known but that something differs.
const UNKNOWN: &str = "it was begun with another recipe or other rows; name another folder to begin anew";

/// What differs between the recipe in a run's folder and `text`, given that the two runs are not the same.
pub(super) fn why(folder: &Path, text: &str) -> String {
    let Ok(before) = std::fs::read_to_string(folder.join(RECIPE)) else { return UNKNOWN.to_owned() };
    if before == text {
        return "it was begun with other rows: a file that the recipe names as `rows` has changed since; put it back as it \
                was, or name another folder to begin anew"
            .into();
    }
    match (before.parse::<Table>(), text.parse::<Table>()) {
        (Ok(before), Ok(now)) => of_tables(before, now),
        _ => UNKNOWN.to_owned(),
    }
}

fn of_tables(mut before: Table, mut now: Table) -> String {
    let first = difference("", &Value::Table(before.clone()), &Value::Table(now.clone()));
    let (was, is) = (before.remove("begin_with"), now.remove("begin_with"));
    if before == now && was != is {
        let (was, is) = (show(was.as_ref()), show(is.as_ref()));
        return format!(
            "the recipe is the same but for `begin_with`: it was begun with {was} and is now to begin with {is}; give the same as \
             before (in the recipe or as --begin-with) to go on, or name another folder to begin anew"
        );
    }
    match first {
        Some(what) => {
            format!("it was begun with another recipe: {what}; change it back, or name another folder to begin anew")
        }
        None => {
            "it was begun by another version, which wrote the same recipe otherwise; go on with that version, or name \
                 another folder to begin anew"
                .into()
        }
    }
}

/// The first key below `key` whose values differ, with both of them.
fn difference(key: &str, before: &Value, now: &Value) -> Option<String> {
    match (before, now) {
        (Value::Table(before), Value::Table(now)) => {
            let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
            let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
            names.into_iter().find_map(|name| of_options(&below(name), before.get(name), now.get(name)))
        }
        (Value::Array(before), Value::Array(now)) => (0..before.len().max(now.len()))
            .find_map(|at| of_options(&format!("{key}[{at}]"), before.get(at), now.get(at))),
        _ => (before != now).then(|| told(key, Some(before), Some(now))),
    }
}

fn of_options(key: &str, before: Option<&Value>, now: Option<&Value>) -> Option<String> {
    match (before, now) {
        (Some(before), Some(now)) => difference(key, before, now),
        _ => Some(told(key, before, now)),
    }
}

fn told(key: &str, before: Option<&Value>, now: Option<&Value>) -> String {
    format!("`{key}` was {} and is {}", show(before), show(now))
}

fn show(value: Option<&Value>) -> String {
    match value {
        None => "nothing".into(),
        Some(Value::Table(_)) => "a table".into(),
        Some(Value::Array(_)) => "a list".into(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_that_differs_is_told_with_both_values() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(why(folder.path(), "seed = 1"), UNKNOWN);
        let before = "seed = 1\nbegin_with = \"a\"\n[[stages]]\nname = \"s\"\nrate = 0.5\n";
        std::fs::write(folder.path().join(RECIPE), before).unwrap();
        for (from, to, part) in [
            ("", "", "other rows"),
            ("0.5", "0.25", "`stages[0].rate` was 0.5 and is 0.25; change it back"),
            ("rate = 0.5\n", "", "`stages[0].rate` was 0.5 and is nothing"),
            ("seed = 1", "seed = 2", "`seed` was 1 and is 2"),
            ("rate = 0.5\n", "rate = 0.5\n[[stages]]\n", "`stages[1]` was nothing and is a table"),
            (
                "begin_with = \"a\"\n",
                "",
                "but for `begin_with`: it was begun with \"a\" and is now to begin with nothing",
            ),
            ("\"a\"", "\"b\"", "--begin-with"),
            ("seed = 1", "seed   = 1", "another version"),
        ] {
            let said = why(folder.path(), &before.replacen(from, to, 1));
            assert!(said.contains(part) && said.contains("another folder"), "{said}");
        }
    }
}
