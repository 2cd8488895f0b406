use super::*;

fn options() -> Options {
    Options {
        hostname: Some("MX.Example".into()),
        listen: vec!["[::1]:0".into()],
        deliver: vec!["discard:".into()],
        ..Options::default()
    }
}

#[test]
fn defaults() {
    let config = options().check().unwrap();
    assert_eq!(config.hostname, "mx.example");
    assert_eq!(config.authserv_ids, ["mx.example"]);
    assert_eq!(config.names, NameSource::System);
    assert_eq!(config.size_limit, 36_700_160);
}

#[test]
fn what_is_wrong_is_said() {
    type Change = fn(&mut Options);
    let cases: [(Change, &str); 29] = [
        (|o| o.hostname = None, "--hostname is missing: give our fully qualified name"),
        (|o| o.hostname = Some("a b".into()), "--hostname `a b`: is not a domain name"),
        (|o| o.hostname = Some("bü.example".into()), "--hostname `bü.example`: must be ASCII; write xn--b-eha.example"),
        (|o| o.hostname = Some("ü-.example".into()), "must be ASCII, in A-labels (xn--…); and label `ü-` begins or"),
        (|o| o.listen = vec![], "--listen is missing"),
        (|o| o.listen = vec!["::1:25".into()], "--listen `::1:25`: write ADDRESS:PORT"),
        (|o| o.proxy_listen = vec!["[::1]:1".into()], "--proxy-from is missing"),
        (|o| o.deliver = vec![], "--deliver is missing"),
        (|o| o.deliver = vec!["ftp://x".into()], "--deliver: "),
        (|o| o.deliver = vec!["discard:".into(), "maildir:x".into()], "--deliver: "),
        (|o| o.dns_server = vec!["resolver".into()], "--dns-server: resolver `resolver`: expected an address"),
        (|o| o.next_hop_client = Some("yes".into()), "--next-hop-client `yes`: is not one of none, xforward"),
        (|o| o.domain = vec!["open.example".into()], "--domain `open.example`: write DOMAIN=accept"),
        (|o| o.domain = vec!["open.example=yes".into()], "--domain: domain mode `yes`"),
        (|o| o.connector = vec!["x".into()], "--connector: "),
        (
            |o| o.connector_cert = vec!["partner.example".into()],
            "--connector-cert: connector `partner.example`: a name is",
        ),
        (|o| o.early_talker = Some("shout".into()), "--early-talker `shout`: is not one of ignore, record, refuse"),
        (|o| o.greet_delay_ms = Some(600_000), "--greet-delay-ms `600000`: must not be more than 60000"),
        (|o| o.limit = vec!["64.mail=5/1s".into()], "--limit: `mail` is not one of connections, messages"),
        (|o| o.limit_table = Some(0), "--limit-table `0`: must lie between 1"),
        (|o| o.cores = Some("x".into()), "--cores: "),
        (|o| o.kernels = Some("fast".into()), "--kernels `fast`: is not auto, portable or a kernel (sha-ni, "),
        (|o| o.kernels = Some("avx2,sha-ni".into()), "--kernels `avx2,sha-ni`: avx2 and sha-ni do the same"),
        (|o| o.cache_spf = Some(0), "--cache-spf `0`: must lie between 1"),
        (|o| o.dns_stale = Some(604_800), "--dns-stale `604800`: must lie between 0 and 259200"),
        (|o| o.dns_probe = vec!["a..b".into()], "--dns-probe `a..b`: is not a domain name"),
        (|o| o.dns_probe = vec!["n.example".into(); 9], "--dns-probe `n.example`: is one more than 8"),
        (|o| o.dkim_batch_max = Some(0), "--dkim-batch-max `0`: must lie between 1 and 1024"),
        (|o| o.dkim_batch_wait_us = Some(1_000_000), "--dkim-batch-wait-us `1000000`: must lie between 0 and 20000"),
    ];
    for (change, words) in cases {
        let mut options = options();
        change(&mut options);
        let error = options.check().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn layers() {
    let file = Options {
        hostname: Some("file.example".into()),
        listen: vec!["[::1]:1".into()],
        zone: Some("z".into()),
        ..Options::default()
    };
    let flags = Options { listen: vec!["[::1]:2".into()], dns_server: vec!["127.0.0.1".into()], ..Options::default() };
    let merged = flags.over(file);
    assert_eq!(merged.hostname.as_deref(), Some("file.example"));
    assert_eq!(merged.listen, ["[::1]:2"]);
    assert_eq!((merged.zone, merged.dns_server.len()), (None, 1));
}

/// `keep_what_is_fixed` and the entries say the same.
#[test]
fn what_a_reload_leaves_is_said() {
    macro_rules! names {
        ($($field:ident: $options:literal),* $(,)?) => { [$($options),*] };
    }
    let names = fixed_fields!(names);
    let mut kept: Vec<&str> =
        names.iter().flat_map(|names| names.split([' ', ','])).filter_map(|word| word.strip_prefix("--")).collect();
    let mut fixed: Vec<&str> = REGISTRY.iter().filter(|entry| entry.fixed).map(|entry| entry.key).collect();
    kept.sort_unstable();
    fixed.sort_unstable();
    assert_eq!(kept, fixed);
}

/// An entry lacks nothing.
#[test]
fn every_entry_is_whole() {
    for (entry, (key, field)) in REGISTRY.iter().zip(options::FIELDS) {
        let key_of_field = field.replace('_', "-");
        assert_eq!((entry.key, *key), (key_of_field.as_str(), key_of_field.as_str()));
        assert!(entry.text.len() > 10 && entry.text.ends_with(['.', ':']), "{key}: no text");
        assert!(
            !entry.text.contains("default:") && !entry.text.contains("[env"),
            "{key}: the default is said elsewhere"
        );
        assert_ne!(entry.default, Default::Unsaid, "{key}: no default, and no word on why there is none");
        assert!(!entry.default_in_words().is_empty(), "{key}: an empty default");
        assert_eq!(
            entry.shape == Shape::Number,
            entry.unit != Unit::None,
            "{key}: numbers have units, others have none"
        );
        assert_eq!(entry.shape == Shape::Number, entry.range.is_some(), "{key}: numbers have bounds, others have none");
        assert_eq!(entry.shape == Shape::Switch, entry.value_name.is_empty(), "{key}: no name for its value");
        assert_eq!(entry.shape == Shape::Choice, entry.choices().count() > 1, "{key}: choices");
        let alike = REGISTRY.iter().filter(|other| other.key == entry.key).count();
        assert_eq!(alike, 1, "{key}: twice");
    }
}

/// What the entries call the default is what holds: a gate that is given all of them is configured as one that is given none.
#[test]
fn defaults_are_what_holds() {
    let mut told = options();
    for entry in REGISTRY {
        let values: Vec<_> = entry.default.values().into_iter().map(Into::into).collect();
        if !values.is_empty() {
            told.set(entry.key, values).unwrap();
        }
    }
    assert_ne!(told, options());
    assert_eq!(format!("{:?}", told.check().unwrap()), format!("{:?}", options().check().unwrap()));
}

/// The default of `limit` is in words, for it holds for anonymous clients only.
#[test]
fn the_words_on_limits_are_true() {
    let words = entry("limit").unwrap().default_in_words();
    let told: Vec<String> = words.split(", ").filter(|word| word.contains('=')).map(str::to_owned).collect();
    let anonymous = |rules: LimitRules| format!("{rules:?}").split("connector:").next().unwrap().to_owned();
    assert_eq!(anonymous(LimitRules::parse_all(&told).unwrap()), anonymous(LimitRules::default()));
}

/// The bounds of the entries are those that are checked, and their choices are those that are taken.
#[test]
fn what_is_taken_is_what_is_said() {
    let is_taken = |key: &'static str, text: String| Options::check_alone(key, vec![text.into()]).is_ok();
    for entry in REGISTRY {
        if let Some((least, most)) = entry.range {
            assert!(is_taken(entry.key, least.to_string()), "{}: {least}", entry.key);
            assert!(is_taken(entry.key, most.to_string()), "{}: {most}", entry.key);
            for outside in [least.checked_sub(1), most.checked_add(1)].into_iter().flatten() {
                assert!(!is_taken(entry.key, outside.to_string()), "{}: {outside}", entry.key);
            }
        }
        for choice in entry.choices() {
            assert!(is_taken(entry.key, choice.to_owned()), "{}: {choice}", entry.key);
        }
        assert!(entry.shape != Shape::Choice || !is_taken(entry.key, "perhaps".into()), "{}", entry.key);
    }
}

/// What is made of the entries leaves none out.
#[test]
fn nothing_is_left_out() {
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        _options: Options,
    }
    let command = <Flags as clap::CommandFactory>::command();
    let help = command.clone().render_long_help().to_string();
    let (reference, schema) = (reference(), schema());
    for entry in REGISTRY {
        let flag = command.get_arguments().find(|flag| flag.get_long() == Some(entry.key)).unwrap();
        assert_eq!(flag.get_help_heading(), Some(entry.group.title()));
        assert!(help.contains(&format!("--{}", entry.key)) && help.contains(&entry.variable()), "{help}");
        assert!(reference.contains(&format!("| `{}` |", entry.key)), "{reference}");
        assert!(schema["properties"][entry.key]["description"].is_string(), "{schema:#}");
    }
    assert_eq!(schema["properties"].as_object().unwrap().len(), REGISTRY.len());
    assert_eq!(reference.lines().filter(|line| line.starts_with("| `")).count(), REGISTRY.len());
}
