//! The command line, as `--help` teaches it.

mod batch;
mod change;
mod chat;
mod data;
mod describe;
mod draw;
mod environment;
mod eval;
mod examples;
mod key;
mod replay;
mod server;
mod shell;
mod top;
mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use batch::Batch;
pub(crate) use change::{Change, Marks};
pub(crate) use chat::Chat;
pub(crate) use data::{Curate, Data, Kind, Reward, Shapes, Split};
pub(crate) use describe::{Describe, Encoder};
pub(crate) use draw::{Edit, Generate, Output, Preview, Sampling, Schedule};
pub(crate) use environment::parse;
pub(crate) use eval::{Compare, Eval, Fit, Items, Other, Run, Sampling as EvalSampling};
pub(crate) use key::Key;
pub(crate) use replay::Replay;
pub(crate) use server::Server;
pub(crate) use shell::{Completions, Man};
pub(crate) use top::Top;
pub(crate) use train::Train;

/// What a script may rely on.
const EXIT_CODES: &str = "\
Exit status:
  0    everything was done
  1    it failed, in part or in whole: a row of a batch, a server that does not serve,
       an image that is not the same when it is made again
  2    the request, a flag, a file's contents or a setting is wrong;
       trying again will not help
  3    the server cannot be reached or is busy; trying again may help
  130  stopped by ctrl-c";

/// Draw, edit and ask with UniPic, one autoregressive model for image understanding, generation and editing.
///
/// With --server, requests go to a running gateway or node. Without it, the model is loaded into this process.
#[derive(Debug, Parser)]
#[command(name = "unipic", version, arg_required_else_help = true, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print events as JSON lines on standard output instead of text and a progress bar.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Draw images from a prompt.
    Generate(Generate),
    /// Change an image as an instruction says.
    Edit(Edit),
    /// Describe an image, or answer a question about one or several.
    Describe(Describe),
    // Where a variant says nothing, the help is what its arguments' type says.
    Chat(Chat),
    Batch(Box<Batch>),
    Replay(Replay),
    /// Serve all four parts from this process: gRPC on one port, an HTTP API and a page on another.
    Serve(Serve),
    /// Ask a server whether it takes calls.
    ///
    /// Without --server, the one at http://127.0.0.1:50051. No key is needed for this. Ends with status 0 when it serves, 1 when it does not or knows no service of that name, 3 when it does not answer.
    Health(Health),
    Top(Top),
    /// Convert, inspect, pack and make checkpoints.
    #[command(subcommand)]
    Model(Model),
    /// Make keys for the clients of a server.
    #[command(subcommand)]
    Key(Key),
    /// Train a model by a recipe, from where the run's folder stands.
    ///
    /// The folder gets the state, metrics.jsonl, loss curves, sheets of samples, and the model of the last finished stage.
    /// Ctrl-c saves the state and ends with status 130; the same command goes on, to the same weights as a run that was
    /// never stopped.
    ///
    /// A recipe of one's own begins with a built-in one: `unipic train nano --print > recipe.toml`. Paths in it (`rows`,
    /// `begin_with`) are relative to the directory that this command is called in.
    ///
    /// Each thread computes whole micro-batches. The linear algebra below would start threads of its own unless
    /// RAYON_NUM_THREADS is 1 when the process starts; where it is not set, this command sets it by starting itself again.
    Train(Train),
    /// Make and filter training data.
    #[command(subcommand)]
    Data(Data),
    /// Measure what a model draws, edits and answers.
    #[command(subcommand)]
    Eval(Box<Eval>),
    Completions(Completions),
    Man(Man),
}

/// Which model answers.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("url", |url| url.conflicts_with_all(["model", "device", "dtype", "linear"])))]
pub(crate) struct Target {
    /// A running server, and how to come to it.
    #[command(flatten)]
    pub(crate) server: Server,
    /// How to load a model when there is no server.
    #[command(flatten)]
    pub(crate) local: Local,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// How to load a model into this process.
#[derive(Args, Clone, Debug)]
pub(crate) struct Local {
    /// `nano`, which is part of this program, or the folder of a checkpoint: as released, or converted [default: nano].
    #[arg(long, env = "UNIPIC_MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Where to compute [default: cpu].
    #[arg(long, value_enum)]
    pub(crate) device: Option<Device>,
    /// Element type of weights and activations [default: f32 on cpu, bf16 on cuda].
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Dtype>,
    /// How the weights of linear layers are held [default: dense].
    #[arg(long, value_enum)]
    pub(crate) linear: Option<LinearWeights>,
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    /// The processor.
    Cpu,
    /// The first NVIDIA GPU; needs a build with the `cuda` feature.
    Cuda,
}

/// Element type of weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

/// How the weights of linear layers are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LinearWeights {
    /// In the element type.
    Dense,
    /// In 8 bits with a scale per 32: on a CPU about 0.6 times the memory of f32, images in 0.6 times the time and text in a
    /// third of it, with slightly other numbers.
    #[value(name = "q8_0")]
    Q8_0,
}

/// Serve all four parts from this process.
#[derive(Args, Debug)]
#[command(after_help = examples::SERVE)]
pub(crate) struct Serve {
    /// Where to listen: host:port or unix:/path [default: 127.0.0.1:50051]. On anything but loopback, set `tls` and `auth` in the configuration file.
    #[arg(long)]
    pub(crate) listen: Option<String>,
    /// Where the HTTP API and the page listen: host:port, unix:/path, or `off` [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: Option<String>,
    /// How to load the model.
    #[command(flatten)]
    pub(crate) local: Local,
    /// Configuration file (TOML); flags and UNIPIC_NODE_* variables go before it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Ask a server whether it takes calls.
#[derive(Args, Debug)]
pub(crate) struct Health {
    /// The server, any of our services, and how to come to it.
    #[command(flatten)]
    pub(crate) server: Server,
    /// The gRPC service to ask about, such as unipic.v1.UniPic; the whole process when left out.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) service: String,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// Convert, inspect, pack and make checkpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Turn a released folder (pickles) into safetensors, executing nothing that is in it.
    Convert {
        /// The released folder.
        source: PathBuf,
        /// The folder to make.
        destination: PathBuf,
    },
    /// Show parts, sizes and dtypes, and how much memory an image size needs, from headers alone.
    Inspect(Inspect),
    /// Put a checkpoint into three files (config.json, tokenizer.json, model.safetensors), as the embedded model is stored.
    Pack {
        /// The checkpoint: a folder, or `nano`.
        source: PathBuf,
        /// The folder to make.
        destination: PathBuf,
        /// Element type of the tensors.
        #[arg(long, value_enum, default_value_t = Dtype::Bf16)]
        dtype: Dtype,
    },
    /// Make a checkpoint with random weights, to measure with.
    Random {
        /// The folder to make.
        destination: PathBuf,
        /// Sizes.
        #[arg(long, value_enum, default_value_t = Preset::Tiny)]
        preset: Preset,
        /// Element type of the files.
        #[arg(long, value_enum, default_value_t = Dtype::Bf16)]
        dtype: Dtype,
        /// Seed of the weights.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// Show parts, sizes and dtypes, and how much memory an image size needs.
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The checkpoint: a folder, or `nano`.
    pub(crate) model: PathBuf,
    /// Image size to plan for.
    #[arg(long, value_name = "WxH", value_parser = parse_size, default_value = "1024x1024")]
    pub(crate) size: (u32, u32),
    /// Where it would compute.
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub(crate) device: Device,
    /// Element type [default: f32 on cpu, bf16 on cuda].
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Dtype>,
    /// How the weights of linear layers would be held.
    #[arg(long, value_enum, default_value_t = LinearWeights::Dense)]
    pub(crate) linear: LinearWeights,
}

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// The published model: 3 billion parameters in all, 6 GB in bf16.
    #[value(name = "unipic-1.5b")]
    Unipic1_5b,
    /// A few million parameters.
    Tiny,
}

pub(crate) fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("`{text}` is no size; write WIDTHxHEIGHT, such as 512x512");
    let (width, height) = text.split_once(['x', 'X', '×']).ok_or_else(wrong)?;
    Ok((width.parse().map_err(|_| wrong())?, height.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_width_by_height() {
        assert_eq!(parse_size("640x480"), Ok((640, 480)));
        for bad in ["", "640", "x", "-1x4", "4x4x4", "1e3x5"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_shown_by_nothing() {
        let command = ["unipic", "describe", "x.png", "--server", "https://a:1", "--api-key", "5ec4e7"];
        let cli = Cli::try_parse_from(command).unwrap();
        assert!(!format!("{cli:?}").contains("5ec4e7"));
        let wrong = [&command[..], &["--timeout", "soon"]].concat();
        assert!(!Cli::try_parse_from(wrong).unwrap_err().to_string().contains("5ec4e7"));
        // A key beside the certificate's, which clap must not take for it.
        let paths = [&command[..], &["--ca", "ca.crt", "--cert", "a.crt", "--key", "a.key"]].concat();
        Cli::try_parse_from(paths).unwrap();
        assert!(Cli::try_parse_from([&command[..], &["--cert", "a.crt"]].concat()).is_err());
        assert!(Cli::try_parse_from([&command[..], &["--model", "nano"]].concat()).is_err());
        let health = ["unipic", "health", "--server", "https://a:1", "--ca", "ca.crt", "--server-identity", "b"];
        Cli::try_parse_from(health).unwrap();
    }
}
