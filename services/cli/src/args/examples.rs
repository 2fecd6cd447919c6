//! What `--help` ends with: lines to copy. A test reads each of them as a command line.

pub(super) const GENERATE: &str = "\
Examples:
  unipic generate 'a red circle' -o circle.png
  unipic generate 'a red circle' --n 4 --grid --seed 7 -o sheet.png
  unipic generate 'a star' --server http://localhost:50051 --json
  echo 'a red circle' | unipic generate - -o - > circle.png";

pub(super) const EDIT: &str = "\
Examples:
  unipic edit circle.png 'make the circle green' -o green.png
  unipic edit room.png 'a red sofa' --mask sofa.png --feather 8 -o new.png
  unipic edit sea.png 'more of the sea' --extend left=64,right=64 -o wide.png";

pub(super) const DESCRIBE: &str = "\
Examples:
  unipic describe circle.png
  unipic describe circle.png 'What colour is the circle?'
  unipic describe a.png --image b.png 'Which image shows a star?'
  unipic describe - --max-tokens 40 < circle.png";

pub(super) const CHAT: &str = "\
Examples:
  unipic chat
  unipic chat circle.png --server http://localhost:50051
  printf '/draw a star\\n/save star.png\\nWhat is it?\\n' | unipic chat --seed 7";

pub(super) const BATCH: &str = "\
Examples:
  unipic batch rows.jsonl out
  unipic batch rows.jsonl out --in-flight 8 --server http://localhost:50051
  unipic batch - out --json < rows.jsonl";

pub(super) const REPLAY: &str = "\
Examples:
  unipic replay circle.png
  unipic replay green.png --image circle.png
  unipic replay circle.png --anyway --model checkpoint -o again.png";

pub(super) const SERVE: &str = "\
Examples:
  unipic serve
  unipic serve --model checkpoint --linear q8_0 --http off
  unipic serve --listen 0.0.0.0:50051 --config node.toml";

pub(super) const TRAIN: &str = "\
Examples:
  unipic train nano --run runs/nano
  unipic train recipe.toml --run runs/mine --device cuda";

pub(super) const EVAL: &str = "\
Examples:
  unipic eval nano out/nano --model checkpoint
  unipic eval compare out/fewer --b-iterations 8 --max-loss 0.05
  unipic eval geneval evaluation_metadata.jsonl out/geneval --n 4";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;

    #[test]
    fn every_example_is_a_command_line() {
        let all = [
            super::GENERATE,
            super::EDIT,
            super::DESCRIBE,
            super::CHAT,
            super::BATCH,
            super::REPLAY,
            super::SERVE,
            super::TRAIN,
            super::EVAL,
        ];
        for line in all.iter().flat_map(|text| text.lines().skip(1)) {
            assert!(line.starts_with("  ") && line.len() < 80, "{line}");
            let start = line.find("unipic ").unwrap();
            let end = line.find(" <").or(line.find(" >")).unwrap_or(line.len());
            let words = shlex::split(&line[start..end]).unwrap();
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
