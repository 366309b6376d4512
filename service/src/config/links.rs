//! Variables that Kubernetes puts into a pod for each service of its namespace, and Docker into a
//! container for each link: where they begin with `FMNIST_`, a service has such a name.

use std::net::IpAddr;

/// Whether `variable` is one of a service, whatever the service's name.
pub(super) fn is_link(variable: &str, text: &str, all: &[(String, String)]) -> bool {
    const OF_A_SERVICE: [&str; 2] = ["_SERVICE_PORT", "_SERVICE_HOST"];
    if OF_A_SERVICE.iter().any(|end| variable.ends_with(end)) {
        return text.parse::<IpAddr>().is_ok() || text.parse::<u16>().is_ok();
    }
    // NAME_SERVICE_PORT_HTTP
    if variable.contains("_SERVICE_PORT_") {
        return text.parse::<u16>().is_ok();
    }
    // NAME_PORT, and what Docker adds to it: NAME_NAME=/container/name, NAME_ENV_….
    let is_port = |name: &str, value: &str| name.ends_with("_PORT") && is_address(value);
    if is_port(variable, text) || is_of_a_port(variable) {
        return true;
    }
    let linked = all.iter().filter(|(name, value)| is_port(name, value));
    let mut names = linked.filter_map(|(name, _)| name.strip_suffix("PORT"));
    names.any(|name| {
        let rest = variable.strip_prefix(name).unwrap_or_default();
        rest == "NAME" || rest.starts_with("ENV_")
    })
}

/// `tcp://10.96.0.7:5000`
fn is_address(text: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme))
}

/// `NAME_PORT_5000_TCP`, and with `_PROTO`, `_PORT` and `_ADDR` behind it.
fn is_of_a_port(variable: &str) -> bool {
    let Some((_, port)) = variable.rsplit_once("_PORT_").filter(|(_, port)| !port.is_empty())
    else {
        return false;
    };
    let mut parts = port.split('_');
    parts.next().is_some_and(|number| number.parse::<u16>().is_ok())
        && parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
        && parts.next().is_none_or(|of| ["PROTO", "PORT", "ADDR"].contains(&of))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_one(name: &str, text: &str) -> bool {
        is_link(name, text, &[(name.to_owned(), text.to_owned())])
    }

    #[test]
    fn what_kubernetes_says_of_any_service_is_a_link() {
        for name in ["FMNIST", "FMNIST_PAGE", "FMNIST_KAFKA", "FMNIST_SERVER", "FMNIST_PORT_A"] {
            for (end, text) in [
                ("SERVICE_HOST", "10.96.0.7"),
                ("SERVICE_HOST", "fd00::7"),
                ("SERVICE_PORT", "5000"),
                ("SERVICE_PORT_HTTP", "5000"),
                ("SERVICE_PORT_HTTP_2", "5001"),
                ("PORT", "tcp://10.96.0.7:5000"),
                ("PORT", "udp://[fd00::7]:5000"),
                ("PORT_5000_TCP", "tcp://10.96.0.7:5000"),
                ("PORT_5000_TCP_PROTO", "tcp"),
                ("PORT_5000_TCP_PORT", "5000"),
                ("PORT_5000_SCTP_ADDR", "10.96.0.7"),
            ] {
                assert!(is_one(&format!("{name}_{end}"), text), "{name}_{end}={text}");
            }
        }
    }

    #[test]
    fn what_docker_adds_is_one_beside_the_links_port() {
        let all: Vec<(String, String)> = [
            ("FMNIST_DB_PORT", "tcp://172.17.0.5:5432"),
            ("FMNIST_DB_NAME", "/web/fmnist-db"),
            ("FMNIST_DB_ENV_PG_MAJOR", "17"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
        assert!(all.iter().all(|(name, text)| is_link(name, text, &all)));
        assert!(all[1..].iter().all(|(name, text)| !is_link(name, text, &all[1..])));
    }

    #[test]
    fn a_misspelt_key_is_none() {
        for (name, text) in [
            ("FMNIST_SERVER_PORT", "5000"),
            ("FMNIST_MODEL_NAME", "base"),
            ("FMNIST_SERVER__PROT", "5000"),
            ("FMNIST_KAFKA_SERVICE_HOST", "broker"),
            ("FMNIST_KAFKA_PORT_TCP", "9092"),
            ("FMNIST_KAFKA_PORT_9092_HTTP", "9092"),
        ] {
            assert!(!is_one(name, text), "{name}");
        }
    }
}
