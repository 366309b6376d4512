//! What the browser is shown: the demo as a program, or a front end of this process.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use fmnist_core::Supervisor;
use frontend_actix::{Frontend, RunningFrontend, ServerConfig};
use test_kit::example;
use tokio::runtime::Runtime;

/// The demo with its in-process brokers, over images that it draws.
pub(crate) struct Demo {
    child: Child,
    pub(crate) url: String,
}

impl Demo {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With these variables, and no others.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let mut child = example("demo")
            .args(["--port", "0"])
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = stderr
            .find_map(|line| Some(line.unwrap().split_once("Open ")?.1.replace(", or try", "/")))
            .expect("the demo's address");
        // A full pipe would hold the demo up.
        std::thread::spawn(move || stderr.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A front end alone.
pub(crate) struct Served {
    runtime: Runtime,
    running: Option<RunningFrontend>,
    pub(crate) url: String,
}

impl Served {
    /// `settings` are the default but for the port, which is free.
    pub(crate) fn start(
        settings: ServerConfig,
        complete: impl FnOnce(Frontend) -> Frontend,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let guard = runtime.enter();
        let frontend = Frontend::new(ServerConfig { port: 0, ..settings });
        let running = complete(frontend).start(&Supervisor::new()).unwrap();
        let url = format!("http://{}/", running.address());
        drop(guard);
        Self { runtime, running: Some(running), url }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}
