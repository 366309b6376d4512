//! A proxy in front of Kafka, which cuts, delays and swallows.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Every piece of either direction comes so much later.
    Slow(Duration),
    /// Connections stay open and nothing goes through them.
    BlackHole,
    /// Requests that write to this topic are swallowed; all others go through.
    TakesNothing(String),
}

/// A network whose weather the test makes.
pub(crate) struct Network {
    weather: Arc<watch::Sender<Weather>>,
    /// Each new number ends every connection.
    cuts: Arc<watch::Sender<usize>>,
}

impl Network {
    /// Forwards what comes to `from` to `to`. Must be called within a Tokio runtime.
    pub(crate) async fn start(from: &str, to: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(from).await?;
        let network = Self {
            weather: Arc::new(watch::Sender::new(Weather::Fair)),
            cuts: Arc::new(watch::Sender::new(0)),
        };
        let (weather, cuts) = (network.weather.subscribe(), network.cuts.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A broker that is away ends the client's connection, too.
                let Ok(server) = TcpStream::connect(&to).await else { continue };
                tokio::spawn(connection(client, server, weather.clone(), cuts.clone()));
            }
        });
        Ok(network)
    }

    pub(crate) fn make(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn connection(
    client: TcpStream,
    server: TcpStream,
    weather: watch::Receiver<Weather>,
    mut cuts: watch::Receiver<usize>,
) {
    cuts.mark_unchanged();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = cuts.changed() => {}
        () = requests(from_client, to_server, weather.clone()) => {}
        () = answers(from_server, to_client, weather) => {}
    }
}

/// Ends with either end.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let mut request = Vec::new();
    while read_request(&mut from, &mut request).await.is_ok() {
        let is_taken = match endure(&mut weather).await {
            Weather::TakesNothing(topic) => !writes_to(&request, &topic),
            _ => true,
        };
        if is_taken && to.write_all(&request).await.is_err() {
            return;
        }
    }
}

/// A request is its size in four bytes, and what they count.
async fn read_request(from: &mut OwnedReadHalf, request: &mut Vec<u8>) -> io::Result<()> {
    let size = from.read_u32().await?;
    request.clear();
    request.extend(size.to_be_bytes());
    request.resize(request.len() + size as usize, 0);
    from.read_exact(&mut request[4..]).await?;
    Ok(())
}

/// Whether it is a Produce request, whose key is 0, and has the topic's name. librdkafka asks for one
/// partition at a time, by name.
fn writes_to(request: &[u8], topic: &str) -> bool {
    request.get(4..6) == Some(&[0, 0])
        && request.windows(topic.len()).any(|found| found == topic.as_bytes())
}

/// Ends with either end.
async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        endure(&mut weather).await;
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Waits for as long as the weather holds a piece up; returns what it was.
async fn endure(weather: &mut watch::Receiver<Weather>) -> Weather {
    let now = weather.borrow_and_update().clone();
    match now {
        Weather::Fair | Weather::TakesNothing(_) => {}
        Weather::Slow(delay) => sleep(delay).await,
        Weather::BlackHole => {
            // An error means that the test is over.
            drop(weather.wait_for(|weather| *weather != Weather::BlackHole).await);
        }
    }
    now
}
