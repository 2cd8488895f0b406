//! The end of the drain timeout: what has no verdict by then is not delivered any more, as nobody could follow it to its end.

use std::time::Duration;

use hickory_proto::rr::rdata::{PTR, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use mx6_runtime::simulation::{connect_from, simulate};
use mx6_telemetry::Counter;

use super::caps::{config, replies};
use super::resolver::serve_answers;
use super::{GATE, Gate, RESOLVER, address};
use crate::Config;

/// SPF passes after so many seconds; the gate is stopped at once, and cuts off after two.
fn message_with_a_verdict_after(seconds: u64) -> (String, u64) {
    simulate(1, move || async move {
        serve_answers(address(RESOLVER), move |name, record_type| {
            let text = |text: &str| RData::TXT(TXT::new(vec![text.into()]));
            let (delay, data) = match (name, record_type) {
                ("late.test.", RecordType::TXT) => (seconds / 2, text("v=spf1 include:later.test -all")),
                ("later.test.", RecordType::TXT) => (seconds - seconds / 2, text("v=spf1 ip6:2001:db8::/32 -all")),
                (_, RecordType::PTR) => (0, RData::PTR(PTR(Name::from_ascii("host.test.").unwrap()))),
                _ => (0, text("")),
            };
            Some((Duration::from_secs(delay), vec![data]))
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
