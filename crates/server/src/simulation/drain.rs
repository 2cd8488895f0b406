//! The end of the drain timeout: what has no verdict by then is not delivered any more, as nobody could follow it to its end.

use std::time::Duration;

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::rdata::{PTR, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use mx6_runtime::simulation::{connect_from, serve_datagrams, simulate};
use mx6_telemetry::Counter;

use super::caps::{config, replies};
use super::{GATE, Gate, RESOLVER, address};
use crate::Config;

/// SPF passes after so many seconds; the gate is stopped at once, and cuts off after two.
fn message_with_a_verdict_after(seconds: u64) -> (String, u64) {
    simulate(1, move || async move {
        serve_datagrams(address(RESOLVER), move |query| {
            let query = Message::from_vec(query).unwrap();
            let question = query.queries[0].clone();
            let name = question.name().clone();
            let (delay, data) = match (name.to_ascii().as_str(), question.query_type()) {
                ("late.test.", RecordType::TXT) => (seconds / 2, "v=spf1 include:later.test -all"),
                ("later.test.", RecordType::TXT) => (seconds - seconds / 2, "v=spf1 ip6:2001:db8::/32 -all"),
                _ => (0, ""),
            };
            let mut message = Message::response(query.metadata.id, OpCode::Query);
            let data = match question.query_type() {
                RecordType::PTR => RData::PTR(PTR(Name::from_ascii("host.test.").unwrap())),
                _ => RData::TXT(TXT::new(vec![data.into()])),
            };
            message.add_query(question);
            message.add_answer(Record::from_rdata(name, 300, data));
            vec![(Duration::from_secs(delay), message.to_vec().unwrap())]
        });
        let dns_timeout = Some(Duration::from_secs(8));
        let gate = Gate::start(Config { drain_timeout: Duration::from_secs(1), dns_timeout, ..config() });
        let mut stream = connect_from(address("[2001:db8:1::1]:1024"), address(GATE)).await.unwrap();
        let envelope = "EHLO client.test\r\nMAIL FROM:<a@late.test>\r\nRCPT TO:<b@open.test>\r\nDATA\r\n";
        stream.write_all(envelope.as_bytes()).await.unwrap();
        replies(&mut stream, 5).await;
        stream.write_all(b"Subject: x\r\n\r\n.\r\n").await.unwrap();
        mx6_runtime::sleep(Duration::from_millis(100)).await;
        gate.stop.set();
        let reply = replies(&mut stream, 1).await;
        (reply, gate.end().await.value(Counter::MessagesAccepted))
    })
}

#[test]
fn nothing_is_delivered_after_the_cut_off() {
    let (reply, accepted) = message_with_a_verdict_after(1);
    assert!(reply.starts_with("250 ") && accepted == 1, "{reply}");
    let (reply, accepted) = message_with_a_verdict_after(3);
    assert!(reply.starts_with("451 4.3.0 ") && accepted == 0, "{reply}");
}
