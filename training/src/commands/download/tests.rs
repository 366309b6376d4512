use std::{
    collections::HashSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;

use super::*;

const CONTENT: &[u8] = b"one hundred bytes that stand for a file of images: \
                         ................................................!";
const FILE: OfficialFile = OfficialFile {
    name: "images.gz",
    bytes: 100,
    sha256: "80ab146320e8fde7ed0e35c6c3b62b998edffa329870fd54c3ee191032935e76",
};

/// What the server does with one connection.
#[derive(Clone, Copy)]
enum Reply {
    /// Sends what was asked for.
    Sound,
    /// Promises all and closes after so many bytes.
    Truncated(usize),
    /// Promises all and falls silent after so many bytes.
    Stalled(usize),
    /// Sends the whole file with one byte changed.
    Changed,
    /// Sends everything from the first byte, whatever was asked for.
    Unranged,
    /// Sends this status and no body.
    Status(&'static str),
}

/// A server that answers one connection with each reply and then ends.
struct Server {
    url: String,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    fn new(replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/folder/", listener.local_addr().unwrap());
        let replies = replies.to_vec();
        let thread = thread::spawn(move || {
            let answer = |reply| serve(listener.accept().unwrap().0, reply);
            replies.into_iter().map(answer).collect()
        });
        Self { url, thread }
    }

    /// The first line and the `range` of every request.
    fn requests(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn serve(mut connection: TcpStream, reply: Reply) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(connection.read(&mut byte).unwrap(), 1, "the request is complete");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
    let start = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());

    let mut content = CONTENT.to_vec();
    let (start, end) = match reply {
        Reply::Truncated(end) | Reply::Stalled(end) => (start, end),
        Reply::Unranged => (0, CONTENT.len()),
        Reply::Sound | Reply::Changed | Reply::Status(_) => (start, CONTENT.len()),
    };
    if let Reply::Changed = reply {
        content[50] ^= 1;
    }
    let length = CONTENT.len() - start;
    let status = match reply {
        Reply::Status(status) => format!("{status}\r\ncontent-length: 0"),
        _ if start == 0 => format!("200 OK\r\ncontent-length: {length}"),
        _ => format!(
            "206 Partial Content\r\ncontent-range: bytes {start}-99/100\r\n\
             content-length: {length}"
        ),
    };
    write!(connection, "HTTP/1.1 {status}\r\nconnection: close\r\n\r\n").unwrap();
    if !matches!(reply, Reply::Status(_)) {
        connection.write_all(&content[start..end]).unwrap();
    }
    if let Reply::Stalled(_) = reply {
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).unwrap_or_default();
    }
    let request = head.lines().next().unwrap();
    range.map_or(request.to_owned(), |range| format!("{request} {range}"))
}

fn download(mirrors: &[&str], folder: &TempDir) -> Download {
    let patience = Patience {
        connect: Duration::from_secs(20),
        silence: Duration::from_secs(20),
        attempts: 2,
        pause: Duration::ZERO,
    };
    let mirrors = mirrors.iter().map(|&mirror| mirror.to_owned()).collect();
    Download { mirrors, folder: folder.path().to_owned(), patience }
}

fn names(folder: &TempDir) -> HashSet<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn assert_complete(folder: &TempDir) {
    assert_eq!(names(folder), HashSet::from([FILE.name.to_owned()]));
    assert_eq!(fs::read(folder.path().join(FILE.name)).unwrap(), CONTENT);
}

const WHOLE: &str = "GET /folder/images.gz HTTP/1.1";

#[test]
fn a_sound_file_is_fetched_and_put_into_place() {
    let (server, folder) = (Server::new(&[Reply::Sound]), TempDir::new().unwrap());
    download(&[&server.url], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
    assert_eq!(server.requests(), [WHOLE]);
}

#[test]
fn a_complete_file_is_not_asked_for() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(FILE.name), CONTENT).unwrap();
    download(&["http://127.0.0.1:9/"], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
}

#[test]
fn a_damaged_file_is_fetched_again() {
    let (server, folder) = (Server::new(&[Reply::Sound]), TempDir::new().unwrap());
    fs::write(folder.path().join(FILE.name), &CONTENT[..99]).unwrap();
    download(&[&server.url], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
}

#[test]
fn a_truncated_answer_is_resumed_at_its_end() {
    let replies = [Reply::Truncated(40), Reply::Truncated(70), Reply::Sound];
    let (server, folder) = (Server::new(&replies), TempDir::new().unwrap());
    download(&[&server.url], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
    assert_eq!(server.requests(), [WHOLE, &format!("{WHOLE} 40-"), &format!("{WHOLE} 70-")]);
}

#[test]
fn an_earlier_run_is_resumed() {
    let (server, folder) = (Server::new(&[Reply::Sound]), TempDir::new().unwrap());
    fs::write(folder.path().join("images.gz.part"), &CONTENT[..33]).unwrap();
    download(&[&server.url], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
    assert_eq!(server.requests(), [format!("{WHOLE} 33-")]);
}

#[test]
fn a_damaged_part_is_dropped_and_fetched_anew() {
    let replies = [Reply::Sound, Reply::Sound];
    let (server, folder) = (Server::new(&replies), TempDir::new().unwrap());
    fs::write(folder.path().join("images.gz.part"), [0; 33]).unwrap();
    download(&[&server.url], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
    assert_eq!(server.requests(), [&format!("{WHOLE} 33-"), WHOLE]);
}

#[test]
fn a_finished_part_is_put_into_place_without_asking() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("images.gz.part"), CONTENT).unwrap();
    download(&["http://127.0.0.1:9/"], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let (server, folder) = (Server::new(&[Reply::Unranged]), TempDir::new().unwrap());
    fs::write(folder.path().join("images.gz.part"), &CONTENT[..33]).unwrap();
    download(&[&server.url], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
}

#[test]
fn a_file_with_the_wrong_hash_is_not_kept() {
    let (server, folder) = (Server::new(&[Reply::Changed]), TempDir::new().unwrap());
    let error = download(&[&server.url], &folder).files(&[FILE]).unwrap_err().to_string();
    assert!(
        error.contains(&format!("expected SHA-256 {}, found SHA-256 ", FILE.sha256)),
        "{error}"
    );
    assert!(names(&folder).is_empty());
}

#[test]
fn the_next_mirror_serves_what_the_first_lacks() {
    let first = Server::new(&[Reply::Status("404 Not Found")]);
    let second = Server::new(&[Reply::Changed]);
    let (third, folder) = (Server::new(&[Reply::Sound]), TempDir::new().unwrap());
    download(&[&first.url, &second.url, &third.url], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
}

#[test]
fn a_missing_file_names_the_url_and_the_status() {
    let server = Server::new(&[Reply::Status("404 Not Found")]);
    let (url, folder) = (server.url.clone(), TempDir::new().unwrap());
    let error = download(&[&url], &folder).files(&[FILE]).unwrap_err().to_string();
    assert!(
        error.contains(&format!("{url}images.gz: the server answers 404 Not Found")),
        "{error}"
    );
    assert!(error.contains("--from"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_busy_server_is_asked_again() {
    let replies = [Reply::Status("503 Service Unavailable"), Reply::Sound];
    let (server, folder) = (Server::new(&replies), TempDir::new().unwrap());
    download(&[&server.url], &folder).files(&[FILE]).unwrap();
    assert_complete(&folder);
}

#[test]
fn a_stalling_server_is_given_up_with_what_arrived_kept() {
    let replies = [Reply::Stalled(60), Reply::Stalled(60)];
    let (server, folder) = (Server::new(&replies), TempDir::new().unwrap());
    let mut download = download(&[&server.url], &folder);
    download.patience.silence = Duration::from_millis(300);
    let error = download.files(&[FILE]).unwrap_err().to_string();
    assert!(error.contains("timeout"), "{error}");
    assert!(error.contains("after 60 of 100 bytes"), "{error}");
    assert_eq!(fs::read(folder.path().join("images.gz.part")).unwrap(), CONTENT[..60]);
}
