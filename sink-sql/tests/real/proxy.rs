use std::sync::{Arc, Mutex};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// The address that a fail-over moves from one server to another. What is connected stays where it is.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    target: Mutex<u16>,
    silence: Notify,
}

impl Proxy {
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { target: Mutex::new(target), silence: Notify::new() });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, Arc::clone(&shared)));
            }
        });
        Self { port, state }
    }

    /// New connections go there.
    pub(crate) fn point_to(&self, target: u16) {
        *self.state.target.lock().unwrap() = target;
    }

    /// What is connected now hears nothing any more, not even that it is alone.
    pub(crate) fn silence(&self) {
        self.state.silence.notify_waiters();
    }
}

async fn forward(mut client: TcpStream, state: Arc<State>) {
    let target = *state.target.lock().unwrap();
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        () = state.silence.notified() => std::future::pending().await,
    }
}
