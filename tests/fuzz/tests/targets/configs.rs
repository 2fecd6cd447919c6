//! Configuration files of every service.

use std::path::Path;
use std::time::Duration;

use figment::Figment;
use fuzz::{Bounds, Outcome, Target};
use unipic_serving::config::load;

const TARGET: Target = Target {
    name: "configs",
    bounds: Bounds { bytes: 64 << 20, time: Duration::from_secs(10) },
    rounds: 40,
    words: &[
        "listen = \"127.0.0.1:0\"\n",
        "[tls]\n",
        "[[auth.keys]]\n",
        "sha256 = \"",
        "[tenants.a]\n",
        "nan",
        "-inf",
        "1e400",
        "'''",
        "\"\"\"",
        "[limits]\nmax_n = ",
        "[a.b.c]\n",
        "=",
        "[[",
        "{",
        "\\UFFFFFFFF",
        "1979-05-27T07:32:00Z",
        "\u{feff}",
        "unix:",
        "dns:///",
    ],
};

/// Each service's own reading of the file; the first that takes it counts.
fn judge(path: &Path) -> Outcome {
    let prefix = "UNIPIC_FUZZ_NOTHING_";
    let readings = [
        load::<unipic_gateway::Config>(Some(path), prefix, Figment::new()).map(drop),
        load::<unipic_node::Config>(Some(path), prefix, Figment::new()).map(drop),
        load::<unipic_decoder::config::Config>(Some(path), prefix, Figment::new()).map(drop),
        load::<unipic_synthesis::config::Config>(Some(path), prefix, Figment::new()).map(drop),
        load::<unipic_understanding::config::Config>(Some(path), prefix, Figment::new()).map(drop),
    ];
    let mut refused = Outcome::Taken;
    for reading in readings {
        match Outcome::of(reading) {
            Outcome::Refused(why) => refused = Outcome::Refused(why),
            taken => return taken,
        }
    }
    refused
}

#[test]
fn configurations_are_understood_or_refused() -> anyhow::Result<()> {
    let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config");
    let names = ["node/node", "split/decoder", "split/gateway", "split/synthesis", "split/understanding"];
    let read = |name: &str| std::fs::read(deployed.join(format!("{name}.toml")));
    let seeds = names.iter().map(|name| read(name)).collect::<Result<Vec<_>, _>>()?;
    let file = tempfile::NamedTempFile::new()?;
    let replayed = TARGET.replay(&seeds, |input| {
        std::fs::write(file.path(), input).expect("a file of the test");
        judge(file.path())
    });
    stated!(replayed?)
}
