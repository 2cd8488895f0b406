//! Reverse DNS: the name of the sending address, and that name's address.

use mx6_message_auth::is_valid_target;
use mx6_policy::facts::PtrState;
use mx6_policy::{PtrMode, Rule};

use super::{Advice, Case, DnsRecord, unanswered};

pub(super) async fn advise(case: &Case<'_>, rule: Rule) -> Vec<Advice> {
    let address = case.facts.client;
    if case.ptr_state == PtrState::TempFail {
        return vec![temporary(case, rule)];
    }
    if case.facts.iprev.ptr == PtrState::Exists {
        // Only mode `fcrdns` objects to a name that there is.
        let named = case.facts.iprev.names.iter().find(|name| name.eq_ignore_ascii_case(case.helo));
        let name = named.or(case.facts.iprev.names.first()).map_or("", String::as_str);
        let text = format!(
            "{address} has reverse DNS, but none of the names in it leads back to the address. Publish the address of {name}, beside those it has already."
        );
        return vec![Advice::new(rule, owner_of(name), text).publish(DnsRecord::address(name, address))];
    }
    let (name, choice) = host_name(case);
    let leads_back = case.auth.resolves_to(address, &name).await;
    let doubt = match leads_back {
        Some(false) if is_valid_target(case.helo) => format!(
            " But {name} does not resolve to {address}, so it may be the name of another server: then correct the HELO first, and use the server's own name here."
        ),
        _ => String::new(),
    };
    let text = format!(
        "The address {address} has no reverse DNS (PTR record), as every server that sends mail over IPv6 should have. {choice}{doubt} Give it a name: only whoever \
         holds the address block can do that, often in a form of the provider's customer portal."
    );
    let ptr = Advice::new(rule, holder_of(case), text).publish(DnsRecord::ptr(address, &name));
    let need = match case.ptr {
        PtrMode::Fcrdns => "This is needed as well: the name must lead back to the address.",
        PtrMode::Exists => {
            "This is recommended: this server does not demand that the name lead back to the address, others do."
        }
    };
    let back = match leads_back {
        Some(true) => return vec![ptr],
        Some(false) => format!("{name} does not resolve to {address}. {need}"),
        None => format!("Whether {name} resolves to {address} could not be found out now. {need}"),
    };
    vec![ptr, Advice::new(rule, owner_of(&name), back).publish(DnsRecord::address(&name, address))]
}

fn temporary(case: &Case<'_>, rule: Rule) -> Advice {
    let address = case.facts.client;
    let what = match case.facts.iprev.ptr {
        PtrState::TempFail => format!("The reverse DNS of {address} could not be looked up"),
        _ => format!("The names in the reverse DNS of {address} could not be resolved"),
    };
    let name = format!("the reverse zone of {address}");
    let text = format!("{what}: {}", unanswered(case.names, &name, &format!("dig +tcp -x {address}")));
    Advice::new(rule, holder_of(case), text)
}

/// A name for the address, and where it is from.
fn host_name(case: &Case<'_>) -> (String, String) {
    let helo = case.helo.strip_suffix('.').unwrap_or(case.helo);
    if is_valid_target(helo) {
        let helo = helo.to_ascii_lowercase();
        return (helo.clone(), format!("The server calls itself {helo} (HELO), so that is the name it should have."));
    }
    let domain = case.reverse_path.map(|(_, domain)| domain).or(case.author);
    let name = format!("mail.{}", domain.unwrap_or("example.org"));
    let name = if is_valid_target(&name) { name } else { "mail.example.org".to_owned() };
    let choice = format!(
        "The server does not call itself by a full host name (HELO {:?}), so {name} stands for the name it should have, here and in its HELO.",
        case.helo
    );
    (name, choice)
}

fn holder_of(case: &Case<'_>) -> String {
    format!("whoever holds the address block of {} (usually the hosting or network provider)", case.facts.client)
}

fn owner_of(name: &str) -> String {
    format!("whoever runs the DNS of {name}")
}
