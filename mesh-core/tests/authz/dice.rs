//! Random policies and facts. The words are few, so that they meet often.

use std::collections::BTreeMap;

use mesh_core::authz::Value;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::model::{
    Action, Claim, EXPRESSIONS, End, Foreign, Header, Hole, Policy, Rule, Rules, Template, Test,
    Text, Token, Wanted, What, Who, World,
};

const PATHS: &[&str] = &[
    "/",
    "/a",
    "/b",
    "/A",
    "/a/b",
    "/a/x/b",
    "/a/x/y/b",
    "/a/",
    "/a/b/c.json",
    "/a/x=y/b",
    "/a/x*/b",
    "/a/x[/b",
    "/a/b/[",
    "/a/b/cXjson",
    "/a/b/c.json/",
    "/ns/bad/x",
];
const HOSTS: &[&str] = &[
    "a.example",
    "A.example",
    "b.example:80",
    "a.example.",
    "[::1]:80",
];
const IDS: &[&str] = &[
    "spiffe://td/ns/a/sa/x",
    "spiffe://td/ns/bad/sa/x",
    "spiffe://td.evil/ns/a/sa/x",
    "a.example",
    "CN=x",
    "",
];
const IPS: &[&str] = &[
    "10.0.0.1",
    "10.1.2.3",
    "192.168.0.7",
    "127.0.0.1",
    "::1",
    "fd00::1",
    "::ffff:10.0.0.1",
    "::ffff:192.168.0.7",
];
const RANGES: &[(&str, u32)] = &[
    ("10.0.0.0", 8),
    ("10.0.0.1", 32),
    ("10.0.0.0", 9),
    ("192.168.0.9", 24),
    ("0.0.0.0", 0),
    ("10.0.0.1", 64),
    ("::1", 128),
    ("fd00::", 8),
    ("::", 0),
    ("fd00::2", 127),
    ("10.0.0.2", 31),
];
const NAMES: &[&str] = &[
    ":method",
    ":authority",
    ":path",
    "host",
    "x-user",
    "x-count",
    "X-User",
    ":status",
];
const VALUES: &[&str] = &[
    "a",
    "A",
    "ab",
    "7",
    "-3",
    " 9",
    "x",
    "GET",
    "POST",
    "/a",
    "a.example",
    "1000",
    "a,b",
    "",
    "+7",
    "007",
    "7.0",
    "10",
    "9223372036854775808",
];

pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn some<T>(&mut self, most: usize, one: fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| one(self)).collect()
    }

    /// A test that has to do with one of these words.
    fn text(&mut self, words: &[&str]) -> Text {
        let word = self.of(words).to_owned();
        let cut = |at: usize| word.char_indices().nth(at).map_or(word.len(), |(at, _)| at);
        let (short, long) = (cut(self.below(4) + 1), cut(2));
        let ignoring = self.once_in(3);
        match self.below(6) {
            _ if word.is_empty() => Text::Exact(word, ignoring),
            0 | 1 => Text::Exact(word, ignoring),
            2 => Text::Prefix(word[..short].to_owned(), ignoring),
            3 => Text::Suffix(word[long.min(word.len() - 1)..].to_owned(), ignoring),
            4 => Text::Contains(word[short.min(word.len() - 1)..].to_owned(), ignoring),
            _ => Text::Regex(self.below(EXPRESSIONS.len())),
        }
    }

    fn header(&mut self) -> Header {
        let name = self.of(NAMES);
        let words = match name {
            ":path" => PATHS,
            ":authority" | "host" => HOSTS,
            _ => VALUES,
        };
        let test = match self.below(5) {
            0 => Test::Present(self.once_in(2)),
            1 => self
                .of(&[Test::Range(0, 10), Test::Range(-5, 7), Test::Range(7, 8)].each_ref())
                .clone(),
            _ => Test::Text(self.text(words)),
        };
        Header {
            name,
            test,
            invert: self.once_in(4),
            missing_is_empty: self.once_in(4),
        }
    }

    fn template(&mut self) -> Template {
        let mut segments = self.some(3, |dice| match dice.below(8) {
            0..4 => Hole::Text(dice.of(&["a", "b", "x", "c.json"])),
            4..6 => Hole::One,
            6 => Hole::Named("one"),
            _ => Hole::NamedOf("two", dice.of(&["*/b", "x", "a/*"])),
        });
        // A name may be there once.
        let mut seen = Vec::new();
        for hole in &mut segments {
            let (Hole::Named(name) | Hole::NamedOf(name, _)) = hole else {
                continue;
            };
            if seen.contains(name) {
                *hole = Hole::One;
            } else {
                seen.push(*name);
            }
        }
        let mut suffix = "";
        match self.below(4) {
            0 => segments.push(Hole::Rest),
            1 => segments.push(Hole::NamedOf("rest", self.of(&["**", "x/**"]))),
            2 => segments.push(Hole::One),
            _ => {}
        }
        let has_rest = matches!(segments.last(), Some(Hole::Rest));
        if !matches!(segments.last(), None | Some(Hole::Text(_))) && self.once_in(3) {
            suffix = self.of(&[".json", "b", "/"]);
        } else if has_rest && self.once_in(2) {
            suffix = self.of(&["/b", "/b/c.json"]);
        } else if !segments.is_empty() && self.once_in(8) {
            suffix = "/";
        }
        Template { segments, suffix }
    }

    fn wanted(&mut self) -> Wanted {
        match self.below(9) {
            0 => Wanted::Null,
            1 => self
                .of(&[Wanted::Range(1.0, 3.0), Wanted::Range(0.0, 1.0)].each_ref())
                .clone(),
            2 => Wanted::Number(self.of(&[1.0, 3.0])),
            3 => Wanted::Bool(self.once_in(2)),
            4 => Wanted::Present(!self.once_in(4)),
            5 => Wanted::OneOf(Box::new(self.wanted())),
            6 => Wanted::Or(self.some(2, Self::wanted)),
            _ => Wanted::Text(self.text(&["admin", "user", "td"])),
        }
    }

    fn claim(&mut self) -> Claim {
        let all: &[&[&str]] = &[
            &["payload", "group"],
            &["payload", "iss"],
            &["payload", "deep", "group"],
            &["payload"],
            &["other"],
        ];
        Claim {
            is_foreign: match self.below(10) {
                0 => Some(Foreign::Filter),
                1 => Some(Foreign::Route),
                _ => None,
            },
            path: self.of(all).to_vec(),
            value: self.wanted(),
            invert: self.once_in(5),
        }
    }

    fn what(&mut self) -> What {
        let (prefix, length) = self.of(RANGES);
        match self.below(9) {
            0 => What::Header(self.header()),
            1 => What::UrlPath(self.text(PATHS)),
            2 | 3 => What::Template(self.template()),
            4 => What::DestinationIp(prefix, length),
            5 => What::DestinationPort(self.of(&[80, 9080])),
            6 => {
                let (start, end) =
                    self.of(&[(80, 81), (0, 80), (81, 9080), (80, 9081), (0, 65536)]);
                What::Ports(start, end)
            }
            7 => What::ServerName(self.text(&["a.example", "b.example", ""])),
            _ => What::Metadata(self.claim()),
        }
    }

    fn who(&mut self) -> Who {
        let (prefix, length) = self.of(RANGES);
        match self.below(8) {
            0 => Who::Authenticated(None),
            1 | 2 => Who::Authenticated(Some(self.text(IDS))),
            3 => Who::Direct(prefix, length),
            4 => Who::Remote(prefix, length),
            5 => Who::Header(self.header()),
            6 => Who::UrlPath(self.text(PATHS)),
            _ => Who::Metadata(self.claim()),
        }
    }

    fn rule<T>(&mut self, depth: usize, leaf: fn(&mut Self) -> T) -> Rule<T> {
        let several = |dice: &mut Self| {
            let many = if dice.once_in(8) {
                0
            } else {
                1 + dice.below(3)
            };
            (0..many).map(|_| dice.rule(depth - 1, leaf)).collect()
        };
        match self.below(if depth == 0 { 5 } else { 9 }) {
            0 => Rule::Any,
            5 => Rule::And(several(self)),
            6 => Rule::Or(several(self)),
            7 | 8 => Rule::Not(Box::new(self.rule(depth - 1, leaf))),
            _ => Rule::Is(leaf(self)),
        }
    }

    fn policy(&mut self, name: &'static str) -> Policy {
        let many = |dice: &mut Self| 1 + dice.below(2);
        Policy {
            name,
            permissions: (0..many(self)).map(|_| self.rule(3, Self::what)).collect(),
            principals: (0..many(self)).map(|_| self.rule(3, Self::who)).collect(),
        }
    }

    pub(crate) fn rules(&mut self) -> Rules {
        let action = self.of(&[
            Action::Allow,
            Action::Allow,
            Action::Deny,
            Action::Deny,
            Action::Log,
        ]);
        let mut names = vec!["ns[a]-policy[b]-rule[0]", "b", "a", "B"];
        let many = self.below(4);
        let policies = (0..many).map(|_| {
            let name = names.swap_remove(self.below(names.len()));
            self.policy(name)
        });
        Rules {
            action,
            policies: policies.collect(),
        }
    }

    /// A filter need not have any.
    pub(crate) fn some_rules(&mut self) -> Option<Rules> {
        (!self.once_in(12)).then(|| self.rules())
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => Value::Bool(self.once_in(2)),
            2 => Value::Number(self.of(&[0.0, 1.0, 2.5, 3.0])),
            3..6 => Value::Text(self.of(&["admin", "user", "td", ""]).into()),
            6 => Value::List((0..self.below(3)).map(|_| self.value(depth - 1)).collect()),
            _ => self.object(depth - 1, &["group", "iss"]),
        }
    }

    fn object(&mut self, depth: usize, keys: &[&str]) -> Value {
        let mut fields = BTreeMap::new();
        for key in keys {
            if !self.once_in(4) {
                fields.insert(Box::from(*key), self.value(depth));
            }
        }
        Value::Object(fields)
    }

    fn token(&mut self) -> Token {
        match self.below(6) {
            0 => Token::NoFilter,
            1 => Token::None,
            2 => Token::Says(self.value(2)),
            _ => {
                let mut payload = self.object(1, &["group", "iss"]);
                if let Value::Object(fields) = &mut payload {
                    fields.insert("deep".into(), self.object(1, &["group"]));
                }
                Token::Says(Value::Object([("payload".into(), payload)].into()))
            }
        }
    }

    fn end(&mut self) -> End {
        match self.below(6) {
            0 => End::Plaintext,
            1 => End::Anonymous,
            _ => End::Certificate {
                uri: (0..self.of(&[0, 1, 1, 1, 2]))
                    .map(|_| self.of(IDS))
                    .collect(),
                dns: (0..self.below(3)).map(|_| self.of(IDS)).collect(),
                subject: self.of(&["", "", "CN=x", "a.example"]),
                unreadable: usize::from(self.once_in(12)),
            },
        }
    }

    pub(crate) fn world(&mut self) -> World {
        let headers = self.some(3, |dice| {
            (dice.of(&["x-user", "x-count", "x-other"]), dice.of(VALUES))
        });
        let direct = self.of(IPS);
        World {
            method: self.of(&["GET", "POST", "DELETE"]),
            authority: self.of(HOSTS),
            path: self.of(PATHS),
            query: self.of(&[None, None, Some("x=/b"), Some("")]),
            headers,
            end: self.end(),
            local: (self.of(IPS), self.of(&[80, 9080, 65535, 0])),
            direct,
            remote: if self.once_in(2) {
                direct
            } else {
                self.of(IPS)
            },
            sni: self.of(&[None, Some("a.example"), Some("b.example")]),
            token: self.token(),
        }
    }
}
