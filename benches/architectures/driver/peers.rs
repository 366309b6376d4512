//! Who is measured, and how each is started.

use std::{
    fmt, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{load::Topics, process::size_bytes};

/// Images a batch, everywhere.
pub(crate) const BATCH: usize = 256;

/// Where things are.
pub(crate) struct Folders {
    /// Environments, jars and models.
    pub(crate) made: PathBuf,
    /// This library's programs.
    pub(crate) programs: PathBuf,
    /// Sources of the peers.
    pub(crate) sources: PathBuf,
}

/// What is tried out for each peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Of the model.
    threads: Threads,
    /// Whether ONNX Runtime's threads wait awake for work.
    spins: bool,
    /// Requests that a batch is cut into.
    requests: usize,
    /// Images as strings of bytes.
    byte_strings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Threads {
    All,
    One,
}

const PLAIN: Setting =
    Setting { threads: Threads::All, spins: false, requests: 1, byte_strings: false };
const ONE_THREAD: Setting = Setting { threads: Threads::One, ..PLAIN };
const SPINNING: Setting = Setting { spins: true, ..PLAIN };
const TWO_REQUESTS: Setting = Setting { requests: 2, ..PLAIN };
const FOUR_REQUESTS: Setting = Setting { requests: 4, ..PLAIN };
const BYTE_STRINGS: Setting = Setting { byte_strings: true, ..PLAIN };
const FOUR_OF_BYTE_STRINGS: Setting = Setting { requests: 4, ..BYTE_STRINGS };

const ONNX: &[Setting] = &[PLAIN, SPINNING, ONE_THREAD];
const SERVED: &[Setting] = &[PLAIN, SPINNING, TWO_REQUESTS];
const OURS: &[Setting] = &[PLAIN, TWO_REQUESTS, FOUR_REQUESTS];
const MLSERVER: &[Setting] = &[BYTE_STRINGS, FOUR_OF_BYTE_STRINGS, PLAIN, FOUR_REQUESTS];

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.threads == Threads::All { "all threads" } else { "one thread" })?;
        if self.spins {
            f.write_str(", spinning")?;
        }
        if self.requests > 1 {
            write!(f, ", {} requests at once", self.requests)?;
        }
        if self.byte_strings {
            f.write_str(", images as byte strings")?;
        }
        Ok(())
    }
}

/// A peer: a consumer, and a server where the model is elsewhere.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) settings: &'static [Setting],
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// This library's pipeline.
    Pipeline(Place),
    /// A program of `python/`, in this environment.
    Python { environment: &'static str, program: &'static str },
    /// A class of `java/`.
    Java(&'static [&'static str]),
}

#[derive(Clone, Copy)]
enum Place {
    Nowhere,
    Here,
    Http,
    Grpc(Serving),
}

#[derive(Clone, Copy)]
enum Serving {
    Ours,
    MlServer,
    KServe,
    Triton,
}

/// All of them, in the order of the tables.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "none",
        what: "this library's consumer with a model that computes nothing: the floor",
        settings: &[PLAIN],
        kind: Kind::Pipeline(Place::Nowhere),
    },
    Peer {
        name: "embedded",
        what: "this library's consumer, the model in it",
        settings: &[PLAIN, ONE_THREAD],
        kind: Kind::Pipeline(Place::Here),
    },
    Peer {
        name: "own-http",
        what: "this library's consumer, the model in this project's server, over HTTP",
        settings: OURS,
        kind: Kind::Pipeline(Place::Http),
    },
    Peer {
        name: "own-grpc",
        what: "this library's consumer, the model in this project's server, over gRPC",
        settings: OURS,
        kind: Kind::Pipeline(Place::Grpc(Serving::Ours)),
    },
    Peer {
        name: "triton",
        what: "this library's consumer, ONNX Runtime in Triton (PyTriton), over gRPC",
        settings: SERVED,
        kind: Kind::Pipeline(Place::Grpc(Serving::Triton)),
    },
    Peer {
        name: "kserve",
        what: "this library's consumer, ONNX Runtime in KServe's server, over gRPC",
        settings: SERVED,
        kind: Kind::Pipeline(Place::Grpc(Serving::KServe)),
    },
    Peer {
        name: "mlserver",
        what: "this library's consumer, ONNX Runtime in MLServer, over gRPC",
        settings: MLSERVER,
        kind: Kind::Pipeline(Place::Grpc(Serving::MlServer)),
    },
    Peer {
        name: "java",
        what: "a loop of Kafka's Java client, ONNX Runtime in it",
        settings: ONNX,
        kind: Kind::Java(&["Loop"]),
    },
    Peer {
        name: "streams",
        what: "Kafka Streams, record by record, ONNX Runtime in it",
        settings: &[PLAIN],
        kind: Kind::Java(&["Streams"]),
    },
    Peer {
        name: "streams-batch",
        what: "Kafka Streams, batches by punctuation, ONNX Runtime in it",
        settings: ONNX,
        kind: Kind::Java(&["Streams", "batch"]),
    },
    Peer {
        name: "python",
        what: "a plain loop of confluent-kafka, ONNX Runtime in it",
        settings: ONNX,
        kind: Kind::Python { environment: "python", program: "plain_loop.py" },
    },
    Peer {
        name: "python-fast",
        what: "the same loop, made by the documentation",
        settings: ONNX,
        kind: Kind::Python { environment: "python", program: "fast_loop.py" },
    },
    Peer {
        name: "old",
        what: "the old way: kafka-python and Keras, one message after the other",
        settings: &[PLAIN],
        kind: Kind::Python { environment: "keras", program: "old_consumer.py" },
    },
];

/// What starts a peer.
pub(crate) struct Commands {
    pub(crate) server: Option<Command>,
    pub(crate) consumer: Command,
}

impl Peer {
    /// Whether its answers are to be looked at.
    pub(crate) fn has_model(&self) -> bool {
        !matches!(self.kind, Kind::Pipeline(Place::Nowhere))
    }

    pub(crate) fn commands(
        &self,
        folders: &Folders,
        topics: &Topics,
        setting: Setting,
        cores: usize,
    ) -> anyhow::Result<Commands> {
        let threads = if setting.threads == Threads::All { cores } else { 1 }.to_string();
        let prepared = |mut command: Command| {
            command
                .envs([("KAFKA", &topics.servers), ("GROUP", &topics.group)])
                .envs([("TOPIC", &topics.input), ("RESULTS", &topics.results)])
                .env("DEAD_LETTERS", &topics.dead_letters)
                .env("MODEL", folders.made.join("base"))
                .env("STATE", folders.made.join("state"))
                .envs([("THREADS", &threads), ("BATCH", &BATCH.to_string())])
                .env("SPIN", if setting.spins { "1" } else { "0" })
                .env("PYTHONUNBUFFERED", "1");
            command
        };
        let (server, consumer) = match self.kind {
            Kind::Python { environment, program } => (None, python(folders, environment, program)),
            Kind::Java(class) => {
                let mut java = Command::new(folders.made.join("java/jre/bin/java"));
                let classes =
                    ["libs/*", "classes"].map(|path| folders.made.join("java").join(path));
                let [jars, classes] = classes.map(|path| path.display().to_string());
                java.args(["-cp", &format!("{jars}:{classes}")]).args(class);
                (None, java)
            }
            Kind::Pipeline(place) => {
                let ports = Ports::free()?;
                let server = place.server(folders, topics, &ports, &threads);
                let mut consumer = Command::new(folders.programs.join("architectures-pipeline"));
                consumer
                    .args(["--place", &place.address(&ports), "--threads", &threads])
                    .args(["--requests", &setting.requests.to_string()])
                    .args(setting.byte_strings.then_some("--byte-strings"))
                    .args(["--kafka", &topics.servers, "--group", &topics.group, "--member", "1"])
                    .args(["--topic", &topics.input, "--results-topic", &topics.results])
                    .args(["--dead-letter-topic", &topics.dead_letters])
                    .args(["--property", "session.timeout.ms=6000"]);
                (server, consumer)
            }
        };
        Ok(Commands { server: server.map(prepared), consumer: prepared(consumer) })
    }

    /// What is installed for it, in bytes, and what Python or Java itself takes below that.
    pub(crate) fn shipped(&self, folders: &Folders) -> (u64, u64) {
        let bytes = |path: &str| size_bytes(&folders.made.join(path));
        let program = |name: &str| size_bytes(&folders.programs.join(name));
        let environment = |name: &str, model: &str| {
            let interpreter =
                fs::read_to_string(folders.made.join(format!("{name}/runtime-bytes")));
            let interpreter = interpreter.ok().and_then(|bytes| bytes.trim().parse().ok());
            (bytes(&format!("{name}/lib")) + bytes(model), interpreter.unwrap_or(0))
        };
        match self.kind {
            Kind::Java(_) => {
                let own = ["java/libs", "java/classes", "base.onnx"].map(bytes);
                (own.iter().sum(), bytes("java/jre"))
            }
            Kind::Python { environment: "keras", .. } => environment("keras", "base.keras"),
            Kind::Python { environment: name, .. } => environment(name, "base.onnx"),
            Kind::Pipeline(place) => {
                let (server, runtime) = match place {
                    Place::Nowhere | Place::Here => (0, 0),
                    Place::Http | Place::Grpc(Serving::Ours) => (program("frontend-actix"), 0),
                    Place::Grpc(server) => environment(server.environment(), "base.onnx"),
                };
                (program("architectures-pipeline") + server, runtime)
            }
        }
    }
}

impl Place {
    fn address(self, ports: &Ports) -> String {
        match self {
            Self::Nowhere => "none".to_owned(),
            Self::Here => "embedded".to_owned(),
            Self::Http => format!("http://127.0.0.1:{}", ports.http),
            Self::Grpc(_) => format!("grpc://127.0.0.1:{}", ports.grpc),
        }
    }

    fn server(
        self,
        folders: &Folders,
        topics: &Topics,
        ports: &Ports,
        threads: &str,
    ) -> Option<Command> {
        let [http, grpc, metrics] =
            [ports.http, ports.grpc, ports.metrics].map(|port| port.to_string());
        let server = match self {
            Self::Nowhere | Self::Here => return None,
            Self::Http => Serving::Ours,
            Self::Grpc(server) => server,
        };
        Some(match server {
            Serving::Ours => {
                let mut command = Command::new(folders.programs.join("frontend-actix"));
                command
                    .args(["--port", &http])
                    .env("FMNIST_MODEL__THREADS", threads)
                    .env("FMNIST_SERVER__MAX_REQUESTS_PER_SECOND", "1000000")
                    .env("FMNIST_KAFKA__BOOTSTRAP_SERVERS", &topics.servers)
                    .env("FMNIST_KAFKA__TOPIC", &topics.input)
                    // Else its page would read them all.
                    .env("FMNIST_KAFKA__RESULTS_TOPIC", "")
                    .env("RUST_LOG", "warn");
                if matches!(self, Self::Grpc(_)) {
                    command.env("FMNIST_SERVER__GRPC_PORT", &grpc);
                }
                command
            }
            Serving::MlServer => {
                let mut command = Command::new(folders.made.join("mlserver/bin/mlserver"));
                command
                    .arg("start")
                    .arg(folders.sources.join("python/mlserver_base"))
                    .envs([("MLSERVER_HTTP_PORT", &http), ("MLSERVER_GRPC_PORT", &grpc)])
                    .env("MLSERVER_METRICS_PORT", &metrics)
                    .env("MLSERVER_HOST", "127.0.0.1")
                    .env("MLSERVER_DEBUG", "false")
                    // Other workers would copy every tensor once more, for a model that leaves the GIL.
                    .env("MLSERVER_PARALLEL_WORKERS", "0");
                command
            }
            Serving::KServe => {
                let mut command = python(folders, "kserve", "kserve_server.py");
                command.args(["--http_port", &http, "--grpc_port", &grpc]);
                command
            }
            Serving::Triton => {
                let mut command = python(folders, "triton", "triton_server.py");
                command.args([&http, &grpc]).env("PYTRITON_HOME", folders.made.join("pytriton"));
                command
            }
        })
    }
}

impl Serving {
    fn environment(self) -> &'static str {
        match self {
            Self::Ours => "",
            Self::MlServer => "mlserver",
            Self::KServe => "kserve",
            Self::Triton => "triton",
        }
    }
}

fn python(folders: &Folders, environment: &str, program: &str) -> Command {
    let mut command = Command::new(folders.made.join(environment).join("bin/python"));
    command.arg(folders.sources.join("python").join(program));
    command
}

struct Ports {
    http: u16,
    grpc: u16,
    metrics: u16,
}

impl Ports {
    /// Held together, so that no two are the same.
    fn free() -> anyhow::Result<Self> {
        let bind = || TcpListener::bind("127.0.0.1:0").context("no port is free");
        let held = [bind()?, bind()?, bind()?];
        let port = |listener: &TcpListener| anyhow::Ok(listener.local_addr()?.port());
        let [http, grpc, metrics] = &held;
        Ok(Self { http: port(http)?, grpc: port(grpc)?, metrics: port(metrics)? })
    }
}

/// The folder of the peers' sources.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("architectures")
}
