//! An OpenTelemetry collector, as far as traces go: takes requests of OTLP over HTTP, keeps their spans, and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// A collector on a port of loopback; it is gone with the test.
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
    willing: Arc<AtomicBool>,
}

/// A span that came, and the attributes of who sent it.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The span.
    pub span: Span,
    /// Of its resource.
    pub resource: Vec<KeyValue>,
}

impl Collector {
    pub fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, willing) = (Arc::<Mutex<Vec<Taken>>>::default(), Arc::new(AtomicBool::new(true)));
        let (all, is_willing) = (Arc::clone(&taken), Arc::clone(&willing));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, is_willing) = (Arc::clone(&all), Arc::clone(&is_willing));
                thread::spawn(move || serve(stream.unwrap(), &all, &is_willing));
            }
        });
        Collector { address, taken, willing }
    }

    /// Whether it answers 200 or 503 from now on.
    pub fn set_willing(&self, willing: bool) {
        self.willing.store(willing, Ordering::Relaxed);
    }

    /// What it took.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }
}

/// The text of an attribute, or what else it is.
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    Some(match value {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    })
}

fn serve(stream: TcpStream, all: &Mutex<Vec<Taken>>, is_willing: &AtomicBool) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = request(&mut reader) {
        let willing = is_willing.load(Ordering::Relaxed);
        if willing {
            let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            for from in request.resource_spans {
                let resource = from.resource.unwrap().attributes;
                let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
                all.lock().unwrap().extend(spans.map(|span| Taken { span, resource: resource.clone() }));
            }
        }
        let status = if willing { "200 OK" } else { "503 Service Unavailable" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The body of the next request; none at the end.
fn request(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|octets| *octets > 0)?;
    assert!(line.starts_with("POST /v1/traces HTTP/1.1"), "{line}");
    let (mut length, mut content) = (0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", octets)) => length = octets.parse().unwrap(),
            Some(("content-type", kind)) => content = kind.to_owned(),
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(content, "application/x-protobuf");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
