use std::{
    fs,
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const USER: &str = "postgres";
const PATIENCE: Duration = Duration::from_secs(60);

/// A PostgreSQL of its own, in a folder that goes with it.
pub(crate) struct Server {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    process: Mutex<Child>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            let id = |flag| {
                let id = Command::new("id").args([flag, USER]).output().unwrap().stdout;
                String::from_utf8(id).unwrap().trim().parse::<u32>().unwrap()
            };
            chown(folder.path(), Some(id("-u")), Some(id("-g"))).unwrap();
        }
        let data = folder.path().join("data");
        let made = command(&programs.join("initdb"))
            .args(["--auth=trust", "--no-sync", "--username=postgres", "--pgdata"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Mutex::new(serve(&programs, folder.path(), port));
        let server = Self { programs, folder, port, process };
        server.wait();
        server
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// As if the machine had lost its power: nothing is flushed, nobody is told.
    pub(crate) fn kill(&self) {
        let lock = self.folder.path().join("data/postmaster.pid");
        let pid = fs::read_to_string(lock).unwrap();
        let pid = pid.lines().next().unwrap();
        assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
        self.process.lock().unwrap().wait().unwrap();
    }

    pub(crate) fn restart(&self) {
        let begun = Instant::now();
        // Until the last children of the killed server are gone, a new one refuses.
        while begun.elapsed() < PATIENCE {
            *self.process.lock().unwrap() = serve(&self.programs, self.folder.path(), self.port);
            if self.wait() {
                return;
            }
        }
        panic!("PostgreSQL does not start again");
    }

    /// Until it takes connections; false if it ended instead.
    fn wait(&self) -> bool {
        let mut ready = Command::new(self.programs.join("pg_isready"));
        ready.args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()]);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.process.lock().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            if ready.status().unwrap().success() {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL does not take connections");
    }
}

pub(crate) fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

impl Drop for Server {
    fn drop(&mut self) {
        let lock = self.folder.path().join("data/postmaster.pid");
        let Ok(pid) = fs::read_to_string(lock) else { return };
        let pid = pid.lines().next().unwrap_or_default();
        drop(Command::new("kill").args(["-QUIT", pid]).status());
        drop(self.process.lock().map(|mut process| process.wait()));
    }
}

fn serve(programs: &Path, folder: &Path, port: u16) -> Child {
    command(&programs.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// PostgreSQL refuses to run as root.
fn command(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", USER, "--"]).arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    id == b"0\n"
}

/// Debian keeps the server's programs out of the path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = debian.chain(std::env::split_paths(&path));
    all.find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .expect("PostgreSQL's initdb and postgres: install the package postgresql")
}
