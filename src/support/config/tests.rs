use super::*;

/// Loads `toml` from a file, under `environment`.
fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sosik.toml");
    std::fs::write(&path, toml).expect("writes the file");
    load_over(&Overrides { config: Some(path), ..Overrides::default() }, environment)
}

fn load_over(overrides: &Overrides, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_with(overrides, environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

/// The key that the refusal names, and its sentence.
fn refusal(toml: &str) -> (String, String) {
    match load(toml, &[]) {
        Err(ConfigError::Value { key, problem }) => (key, problem),
        other => panic!("{toml}: expected a refused value, found {other:?}"),
    }
}

#[test]
fn nothing_given_gives_the_documented_defaults() {
    let config = load_over(&Overrides::default(), &[("PATH", "/bin"), ("SOSIK_OTHER", "x")]).expect("loads");

    assert_eq!(config, Config::default());
    assert_eq!(config.server.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.admin_bind.to_string(), "127.0.0.1:9090");
    assert_eq!(config.shards.strategy, Strategy::Directory);
    assert_eq!(config.shards.members.len(), 4);
    assert_eq!(config.shards.members[0].sqlite_file(Path::new("data")), Some(PathBuf::from("data/s1.db")));
    assert_eq!((config.journal.max_bytes, config.write.batch_bytes, config.cache.capacity), (1 << 30, 1 << 20, 64 << 20));
    assert_eq!((config.write.workers, config.write.workers_min, config.write.workers_max), (Workers::Adaptive, 1, 64));
    assert_eq!((config.auth.access_ttl.as_secs(), config.auth.refresh_ttl.as_secs()), (600, 30 * 86_400));
}

#[test]
fn flags_win_over_the_environment_that_over_the_file_that_over_defaults() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sosik.toml");
    std::fs::write(&path, "[server]\nbind = '127.0.0.1:1'\nadmin_bind = '127.0.0.1:2'\n[node]\nworker = 3\n[data]\ndir = 'a'\n")
        .expect("writes");
    let flags = Overrides { config: Some(path), data: Some("c".into()), bind: Some(([0, 0, 0, 0], 5).into()), admin_bind: None };

    let config =
        load_over(&flags, &[("SOSIK__SERVER__BIND", "127.0.0.1:4"), ("SOSIK__SERVER__ADMIN_BIND", "[::1]:6"), ("SOSIK__DATA__DIR", "b")]);

    let config = config.expect("loads");
    assert_eq!(config.server.bind.to_string(), "0.0.0.0:5");
    assert_eq!(config.server.admin_bind.to_string(), "[::1]:6");
    assert_eq!(config.data.dir, PathBuf::from("c"));
    assert_eq!((config.node.worker, config.node.datacenter), (3, 0));
}

#[test]
fn every_kind_of_value_can_come_from_the_environment() {
    let config = load_over(
        &Overrides::default(),
        &[
            ("SOSIK__JOURNAL__MAX_BYTES", "64MiB"),
            ("SOSIK__WRITE__WORKERS", "0"),
            ("SOSIK__LIMITS__ENABLED", "false"),
            ("SOSIK__AUTH__ACCESS_TTL", "90s"),
            ("SOSIK__SERVER__ALLOWED_ORIGINS", "[\"https://a.example\"]"),
            ("SOSIK__SHARDS__MEMBERS", "[{name=\"a\", url=\"sqlite:a.db\"}]"),
        ],
    )
    .expect("loads");

    assert_eq!(config.journal.max_bytes, 64 << 20);
    assert_eq!(config.write.workers, Workers::Fixed(0));
    assert!(!config.limits.enabled);
    assert_eq!(config.auth.access_ttl.as_secs(), 90);
    assert_eq!(config.server.allowed_origins[0].as_str(), "https://a.example");
    assert_eq!(config.shards.members[0].name, "a");
}

#[test]
fn a_bad_value_is_refused_by_its_key() {
    for (toml, key, says) in [
        ("nonsense = 1", "nonsense", "unknown key"),
        ("[server]\nbund = 'x'", "server.bund", "unknown key; expected one of bind"),
        ("[server]\nbind = 'localhost'", "server.bind", "an IP address and a port"),
        ("[server]\nbind = '127.0.0.1:70000'", "server.bind", "an IP address and a port"),
        ("[server]\nbind = '127.0.0.1:9090'", "server.admin_bind", "must differ"),
        ("[server]\npublic_url = '/x'", "server.public_url", "an absolute URL"),
        ("[server]\nallowed_origins = ['https://a.example', 'https://b.example/']", "server.allowed_origins.1", "an origin"),
        ("[server]\ntrusted_proxies = ['10.0.0.0/40']", "server.trusted_proxies.0", "an address or a network"),
        ("[node]\ndatacenter = 32", "node.datacenter", "from 0 to 31"),
        ("[node]\nworker = 300", "node.worker", "u8"),
        ("[node]\nroles = ['cook']", "node.roles.0", "expected"),
        ("[data]\ndir = ''", "data.dir", "empty"),
        ("[shards]\nstrategy = 'luck'", "shards.strategy", "`directory`"),
        ("[[shards.members]]\nname = 'a'", "shards.members.0.url", "must be given"),
        ("[[shards.members]]\nname = 'a b'\nurl = 'sqlite:a'", "shards.members.0.name", "a-z"),
        ("[[shards.members]]\nname = 'a'\nurl = 'mysql://x'", "shards.members.0.url", "sqlite:FILE"),
        ("[[shards.members]]\nname = 'a'\nurl = 'postgres://me@x'", "shards.members.0.url", "name a database"),
        ("[postgres]\nwriters = 1", "postgres.writers", "from 2"),
        ("[postgres]\nreaders = 0", "postgres.readers", "from 1"),
        ("[postgres]\nlock_timeout = '1ms'", "postgres.lock_timeout", "from 100ms"),
        ("[postgres]\nstatement_timeout = '1d'", "postgres.statement_timeout", "to 600s"),
        ("[journal]\nmax_bytes = '1MB'", "journal.max_bytes", "a size such as"),
        ("[journal]\nmax_bytes = -1", "journal.max_bytes", "a size such as"),
        ("[journal]\nmax_bytes = 1048575", "journal.max_bytes", "at least 1MiB"),
        ("[journal]\nkind = 'paper'", "journal.kind", "embedded"),
        ("[write]\nworkers = 'many'", "write.workers", "\"adaptive\" or a number"),
        ("[write]\nworkers = 1025", "write.workers", "\"adaptive\" or a number"),
        ("[write]\nworkers_min = 65", "write.workers_min", "at most write.workers_max"),
        ("[write]\nbatch_rows = 0", "write.batch_rows", "from 1"),
        ("[write]\nbatch_bytes = '1B'", "write.batch_bytes", "from 4096"),
        ("[auth]\naccess_ttl = '2h'", "auth.access_ttl", "1h"),
        ("[auth]\nrefresh_ttl = '1s'", "auth.refresh_ttl", "auth.access_ttl"),
        ("[[auth.issuers]]\nissuer = 'i'\naudience = 'a'\njwks = 'ftp://x/y'", "auth.issuers.0.jwks", "http"),
        ("[[auth.issuers]]\nissuer = 'i'\naudience = 'a'\njwks = 'http://keys.example/jwks'", "auth.issuers.0.jwks", "https"),
        ("[[auth.issuers]]\nissuer = 'sosik'\naudience = 'a'\njwks = 'f'", "auth.issuers.0.issuer", "this server itself"),
        ("[limits]\nwrites_per_minute = 0", "limits.writes_per_minute", "at least 1"),
        ("[notify]\nretention = 30", "notify.retention", "a span of time"),
        ("[stream]\noutbox_frames = 127", "stream.outbox_frames", "from 128"),
        ("[stream]\noutbox_bytes = 65535", "stream.outbox_bytes", "from 65536"),
        ("[cache]\ncapacity = 4095", "cache.capacity", "from 4096"),
        ("[cache]\ncapacity = '2048GiB'", "cache.capacity", "to 1099511627776"),
        ("[api]\nanonymous_reads = 'yes'", "api.anonymous_reads", "bool"),
        ("[telemetry]\nlog = 'a=b=c'", "telemetry.log", "a level such as"),
        ("[telemetry]\nlog = 'inof'", "telemetry.log", "\"inof\" is no level"),
        ("[telemetry]\nlog = 'info, sosik::ledger'", "telemetry.log", "sosik::ledger=debug"),
        ("[telemetry]\nlog = 'info,sosik=debgu'", "telemetry.log", "a level such as"),
    ] {
        let (found, problem) = refusal(toml);
        assert_eq!(found, key, "{toml}: {problem}");
        assert!(problem.contains(says), "{toml}: {problem}");
    }
}

#[test]
fn a_log_is_a_level_with_directives_or_without() {
    for log in ["off", "WARN", "info,sosik::ledger=debug", "debug,tower=off,", "info,[request{id}]=trace", "sosik[x]"] {
        assert!(load(&format!("[telemetry]\nlog = '{log}'"), &[]).is_ok(), "{log}");
    }
}

#[test]
fn standbys_are_servers_of_their_own_and_nonsense_is_refused() {
    let member = |url: &str, replicas: &str| format!("[[shards.members]]\nname = 'a'\nurl = '{url}'\nreplicas = [{replicas}]");
    let primary = "postgres://me@x/y";
    assert!(load(&member(primary, "'postgres://me@z/y', 'postgres://me@z:5433/y'"), &[]).is_ok());
    let many = (0..9).map(|number| format!("'postgres://me@z{number}/y'")).collect::<Vec<_>>().join(", ");
    for (url, replicas, key, says) in [
        ("sqlite:a", "'sqlite:b'", "shards.members.0.replicas", "no standbys"),
        (primary, "'sqlite:b'", "shards.members.0.replicas.0", "URL of a standby"),
        (primary, "'postgres://me@z'", "shards.members.0.replicas.0", "name a database"),
        (primary, "'postgres://me@z/y', 'postgres://you@x:5432/y'", "shards.members.0.replicas.1", "is the primary"),
        (primary, "'postgres://me@z/y', 'postgres://you@z/y'", "shards.members.0.replicas.1", "stands here twice"),
        (primary, many.as_str(), "shards.members.0.replicas", "at most 8"),
    ] {
        let (found, problem) = refusal(&member(url, replicas));
        assert_eq!(found, key, "{problem}");
        assert!(problem.contains(says), "{problem}");
    }
}

#[test]
fn how_far_a_standby_may_lag_has_bounds_and_nothing_to_say_of_a_file() {
    let member = |url: &str, lag: &str| format!("[[shards.members]]\nname = 'a'\nurl = '{url}'\n{lag}");
    let postgres = |lag: &str| member("postgres://me@x/y", lag);
    let lag_of = |toml: &str| load(toml, &[]).expect("a configuration").shards.members[0].lag_max();
    assert_eq!(lag_of(&postgres("")), std::time::Duration::from_secs(10));
    assert_eq!(lag_of(&postgres("replica_lag_max = '60s'")), std::time::Duration::from_secs(60));
    for toml in [postgres("replica_lag_max = '99ms'"), postgres("replica_lag_max = '25h'"), member("sqlite:a", "replica_lag_max = '60s'")] {
        assert_eq!(refusal(&toml).0, "shards.members.0.replica_lag_max", "{toml}");
    }
}

#[test]
fn other_issuers_are_none_of_each_other_and_not_this_server() {
    let issuer = |name: &str, jwks: &str| format!("[[auth.issuers]]\nissuer = '{name}'\naudience = 'a'\njwks = '{jwks}'\n");
    let own = "[server]\npublic_url = 'https://social.example'\n";
    assert!(load(&format!("{own}{}{}", issuer("sosik", "f"), issuer("j", "http://[::1]:7/jwks")), &[]).is_ok());
    for (toml, key) in [
        (format!("{own}{}", issuer("https://social.example", "f")), "auth.issuers.0.issuer"),
        (format!("{}{}", issuer("i", "f"), issuer("i", "g")), "auth.issuers.1.issuer"),
        (issuer(&"i".repeat(513), "f"), "auth.issuers.0.issuer"),
        (issuer("i", "http://127.0.0.1.example/jwks"), "auth.issuers.0.jwks"),
    ] {
        assert_eq!(refusal(&toml).0, key, "{toml}");
    }
}

#[test]
fn what_comes_later_is_refused_and_not_ignored() {
    for (toml, key) in [
        ("[journal]\nkind = 'jetstream'", "journal.kind"),
        ("[nats]\nurl = 'nats://x'", "nats.url"),
        ("[node]\nroles = ['api']", "node.roles"),
        ("[telemetry]\notlp_endpoint = 'http://x'", "telemetry.otlp_endpoint"),
    ] {
        let (found, problem) = refusal(toml);
        assert_eq!(found, key);
        assert!(problem.contains("later release"), "{problem}");
    }
}

#[test]
fn two_members_may_share_neither_name_nor_file() {
    let two = |first: &str, second: &str| format!("[[shards.members]]\n{first}\n[[shards.members]]\n{second}\n");

    assert_eq!(refusal(&two("name='a'\nurl='sqlite:a'", "name='a'\nurl='sqlite:b'")).0, "shards.members.1.name");
    assert_eq!(refusal(&two("name='a'\nurl='sqlite:a'", "name='b'\nurl='sqlite://a'")).0, "shards.members.1.url");
    let same = two("name='a'\nurl='postgres://me@x/y'", "name='b'\nurl='postgresql://you:pw@x:5432/y?sslmode=require'");
    assert_eq!(refusal(&same).0, "shards.members.1.url");
    assert!(load(&two("name='a'\nurl='postgres://me@x/y'", "name='b'\nurl='postgres://me@x/z'"), &[]).is_ok());
}

#[test]
fn sqlite_beside_postgresql_is_refused_with_a_clear_word() {
    let mixed = |first: &str, second: &str| {
        refusal(&format!("[[shards.members]]\nname='a'\nurl='{first}'\n[[shards.members]]\nname='b'\nurl='{second}'\n"))
    };

    for (first, second) in [("sqlite:a", "postgres://me@x/y"), ("postgres://me@x/y", "sqlite:a")] {
        let (key, problem) = mixed(first, second);
        assert_eq!(key, "shards.members.1.url");
        assert!(problem.contains("SQLite beside PostgreSQL"), "{problem}");
    }
}

#[test]
fn ranges_begin_at_0_rise_and_are_given_for_all_or_none() {
    let ranges = |strategy: &str, first: &str, second: &str| {
        format!(
            "[shards]\nstrategy='{strategy}'\n[[shards.members]]\nname='a'\nurl='sqlite:a'\n{first}\n[[shards.members]]\nname='b'\nurl='sqlite:b'\n{second}"
        )
    };

    assert!(load(&ranges("range", "from=0", "from=1000"), &[]).is_ok());
    assert!(load(&ranges("range", "", ""), &[]).is_ok());
    assert_eq!(refusal(&ranges("range", "from=1", "from=1000")).0, "shards.members.0.from");
    assert_eq!(refusal(&ranges("range", "from=0", "from=0")).0, "shards.members.1.from");
    assert_eq!(refusal(&ranges("range", "from=0", "")).0, "shards.members.1.from");
    assert_eq!(refusal(&ranges("modulo", "from=0", "from=1000")).0, "shards.members.0.from");
}

#[test]
fn an_unknown_variable_is_refused_by_its_key() {
    let error = load_over(&Overrides::default(), &[("SOSIK__SERVER__PORT", "8080")]).expect_err("refused");

    assert!(error.to_string().starts_with("server.port: unknown key"), "{error}");
}

#[test]
fn a_file_that_is_missing_or_not_toml_is_named() {
    let missing = load_over(&Overrides { config: Some("/nowhere/sosik.toml".into()), ..Overrides::default() }, &[]).expect_err("missing");
    let broken = load("[server\nbind=", &[]).expect_err("not TOML");

    assert!(missing.to_string().contains("/nowhere/sosik.toml"), "{missing}");
    assert!(matches!(&broken, ConfigError::Syntax { .. }) && broken.to_string().contains("sosik.toml"), "{broken}");
}

#[test]
fn the_effective_configuration_can_be_loaded_again() {
    let config = load(
        "[server]\npublic_url='https://s.example'\nallowed_origins=['https://a.example']\ntrusted_proxies=['10.0.0.0/8', '::1']\n\
         [write]\nworkers=7\n[auth]\naccess_ttl='90s'\n[[auth.issuers]]\nissuer='i'\naudience='a'\njwks='keys.json'\n\
         [shards]\nstrategy='range'\n[[shards.members]]\nname='a'\nurl='sqlite:a \"b\".db'\nfrom=0\n",
        &[],
    )
    .expect("loads");

    let text = config.effective_toml();

    assert_eq!(load(&text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}")), config);
}

#[test]
fn the_effective_configuration_hides_passwords() {
    let config = load(
        "[[auth.issuers]]\nissuer='i'\naudience='a'\njwks='https://me:hunter2@keys.example/jwks'\n\
         [[shards.members]]\nname='a'\nurl='postgres://me:hunter2@db.example/x?sslmode=verify-full'\n",
        &[],
    )
    .expect("loads");

    let text = config.effective_toml();

    assert!(!text.contains("hunter2") && text.contains("https://me:***@keys.example/jwks"), "{text}");
    assert!(text.contains("postgres://me:***@db.example/x?sslmode=verify-full"), "{text}");
    assert!(!format!("{config:?}").contains("hunter2@db"), "{config:?}");
}
