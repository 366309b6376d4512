//! The page and the API alone; consumers run elsewhere.

use std::process::ExitCode;

use frontend_actix::Config;

fn main() -> ExitCode {
    frontend_actix::run(Config::default())
}
