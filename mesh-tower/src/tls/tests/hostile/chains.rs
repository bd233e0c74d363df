//! Chains that do not hold, and certificates that are none.

use rcgen::{
    BasicConstraints, CidrSubnet, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, NameConstraints, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::{Hostile, NOW, Table};
use crate::tls::tests::mask::Check;
use crate::tls::tests::pki::{Authority, Leaf, REVIEWS, changed, dns, named};
use crate::tls::trust::Role;

const CA: IsCa = IsCa::Ca(BasicConstraints::Unconstrained);

pub(super) fn all(table: &mut Table<'_>) {
    roots(table);
    signatures(table);
    times(table);
    uses(table);
    key_uses(table);
    authorities(table);
    missing(table);
    lengths(table);
    constraints(table);
    extensions(table);
    encodings(table);
    keys(table);
}

fn roots(table: &mut Table<'_>) {
    let strange = Authority::new("another mesh");
    let nameless = Authority::new("");
    let between = strange.below("between", CA);
    let distant = between.below("between", CA);
    let of_ours = table.root.workload(REVIEWS);
    for (name, leaf) in [
        ("of another mesh", strange.workload(REVIEWS)),
        (
            "that is brought along",
            strange.workload(REVIEWS).with(&strange),
        ),
        (
            "that is brought twice",
            strange.workload(REVIEWS).with(&strange).with(&strange),
        ),
        ("without a name", nameless.workload(REVIEWS).with(&nameless)),
        (
            "behind an issuer",
            between.workload(REVIEWS).with(&between).with(&strange),
        ),
        (
            "behind two",
            distant
                .workload(REVIEWS)
                .with(&distant)
                .with(&between)
                .with(&strange),
        ),
        (
            "beside the right one",
            strange.workload(REVIEWS).with(table.root),
        ),
        (
            "beside a good certificate",
            strange.workload(REVIEWS).followed_by(&of_ours),
        ),
    ] {
        table.add("wrong root", name, leaf, Check::Issuer);
    }
    let own = [
        ("as a workload", named(&[REVIEWS])),
        (
            "with a name",
            changed(|it| it.distinguished_name.push(DnType::CommonName, "x")),
        ),
        (
            "with the root's name",
            changed(|it| it.distinguished_name.push(DnType::CommonName, "the mesh")),
        ),
    ];
    for (name, params) in own {
        let check = match name {
            "with the root's name" => Check::Signature,
            _ => Check::Issuer,
        };
        table.add("signed by itself", name, Leaf::self_signed(&params), check);
    }
}

fn signatures(table: &mut Table<'_>) {
    let (root, good) = (table.root, || table.root.workload(REVIEWS));
    let twin = Authority::new("the mesh");
    let below = root.below("between", CA);
    let false_below = twin.below("between", CA);
    let id = REVIEWS.as_bytes();
    let other = b"spiffe://cluster.local/ns/default/sa/ratings";
    let all = [
        ("root of the same name", twin.workload(REVIEWS)),
        (
            "that root brought along",
            twin.workload(REVIEWS).with(&twin),
        ),
        (
            "issuer of the same name",
            false_below.workload(REVIEWS).with(&below),
        ),
        (
            "issuer by a root of the same name",
            false_below.workload(REVIEWS).with(&false_below),
        ),
        ("last bit", good().flipped(1)),
        ("some bit", good().flipped(20)),
        (
            "another name put in",
            root.workload(std::str::from_utf8(other).unwrap())
                .replaced(other, id),
        ),
        ("a longer life put in", {
            let short = root.issue(&changed(|it| it.not_after = date_time_ymd(2027, 1, 1)));
            short.replaced(b"270101000000Z", b"370101000000Z")
        }),
    ];
    for (name, leaf) in all {
        table.add("wrong signature", name, leaf, Check::Signature);
    }
    let sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    for (name, last) in [
        ("SHA-224", 1),
        ("a hash that is none", 5),
        ("another one", 9),
    ] {
        let mut other = sha256;
        other[7] = last;
        let leaf = root.workload(REVIEWS).replaced(&sha256, &other);
        table.add("algorithm that is not taken", name, leaf, Check::Algorithm);
    }
}

fn times(table: &mut Table<'_>) {
    const DAY: i64 = 86_400;
    let now = i64::try_from(NOW).unwrap();
    let at = |seconds: i64| {
        date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(u64::try_from(seconds).unwrap())
    };
    let ended = [
        ("long ago", date_time_ymd(2001, 1, 1)),
        ("a year ago", at(now - 365 * DAY)),
        ("yesterday", at(now - DAY)),
        ("an hour ago", at(now - 3_600)),
        ("a second ago", at(now - 1)),
        ("in the first year", date_time_ymd(1976, 1, 1)),
    ];
    for (name, time) in ended {
        let leaf = table.root.issue(&changed(|it| it.not_after = time));
        table.add("expired", name, leaf, Check::Ended);
    }
    let issuer = table.root.below_until("between", CA, 2001);
    let leaf = issuer.workload(REVIEWS).with(&issuer);
    table.add("expired", "the issuer", leaf, Check::Ended);
    let begins = [
        ("in two thousand years", date_time_ymd(4000, 1, 1)),
        ("in a year", at(now + 365 * DAY)),
        ("tomorrow", at(now + DAY)),
        ("in an hour", at(now + 3_600)),
        ("in a second", at(now + 1)),
        // From there on the form of a time is another one (RFC 5280, 4.1.2.5).
        ("in 2050", date_time_ymd(2050, 1, 1)),
    ];
    for (name, time) in begins {
        let leaf = table.root.issue(&changed(|it| it.not_before = time));
        table.add("not yet valid", name, leaf, Check::Begun);
    }
    let issuer = table
        .root
        .below_with(|it| it.not_before = date_time_ymd(4000, 1, 1));
    let leaf = issuer.workload(REVIEWS).with(&issuer);
    table.add("not yet valid", "the issuer", leaf, Check::Begun);
}

fn uses(table: &mut Table<'_>) {
    use ExtendedKeyUsagePurpose as Use;

    let wrong = match table.role {
        Role::Server => Use::ClientAuth,
        Role::Client => Use::ServerAuth,
    };
    let all = [
        ("the other side's", vec![wrong.clone()]),
        ("code", vec![Use::CodeSigning]),
        ("mail", vec![Use::EmailProtection]),
        ("time", vec![Use::TimeStamping]),
        ("OCSP", vec![Use::OcspSigning]),
        ("one nobody knows", vec![Use::Other(vec![1, 2, 3, 4])]),
        (
            "several",
            vec![Use::CodeSigning, Use::EmailProtection, wrong.clone()],
        ),
        ("any", vec![Use::Any]),
    ];
    for (name, uses) in all {
        let leaf = table
            .root
            .issue(&changed(|it| it.extended_key_usages = uses));
        table.add("wrong extended key usage", name, leaf, Check::Usage);
    }
    let issuer = table
        .root
        .below_with(|it| it.extended_key_usages = vec![wrong]);
    let leaf = issuer.workload(REVIEWS).with(&issuer);
    table.add(
        "wrong extended key usage",
        "of the issuer",
        leaf,
        Check::Usage,
    );
}

fn key_uses(table: &mut Table<'_>) {
    use rcgen::KeyUsagePurpose as Use;

    let class = "wrong key usage";
    let own = |uses: &[Use]| {
        table
            .root
            .issue(&changed(|it| it.key_usages = uses.to_vec()))
    };
    let issuer = |uses: &[Use]| {
        let issuer = table.root.below_with(|it| it.key_usages = uses.to_vec());
        issuer.workload(REVIEWS).with(&issuer)
    };
    for (name, leaf, check) in [
        (
            "encipherment alone",
            own(&[Use::KeyEncipherment]),
            Check::SignsHandshakes,
        ),
        (
            "agreement alone",
            own(&[Use::KeyAgreement]),
            Check::SignsHandshakes,
        ),
        (
            "contracts alone",
            own(&[Use::ContentCommitment]),
            Check::SignsHandshakes,
        ),
        (
            "certificates, too",
            own(&[Use::DigitalSignature, Use::KeyCertSign]),
            Check::SignsNobody,
        ),
        (
            "lists, too",
            own(&[Use::DigitalSignature, Use::CrlSign]),
            Check::SignsNobody,
        ),
        (
            "an issuer's, handshakes alone",
            issuer(&[Use::DigitalSignature]),
            Check::IssuerSigns,
        ),
        (
            "an issuer's, lists alone",
            issuer(&[Use::CrlSign]),
            Check::IssuerSigns,
        ),
    ] {
        table.add(class, name, leaf, check);
    }
}

fn authorities(table: &mut Table<'_>) {
    let all = [
        ("without a bound", CA),
        (
            "of nothing below",
            IsCa::Ca(BasicConstraints::Constrained(0)),
        ),
        ("of one below", IsCa::Ca(BasicConstraints::Constrained(1))),
    ];
    for (name, is_ca) in all {
        let leaf = table.root.issue(&changed(|it| it.is_ca = is_ca));
        table.add("an authority itself", name, leaf, Check::LeafIsCa);
    }
    let all = [
        ("said to be none", IsCa::ExplicitNoCa),
        ("not said to be one", IsCa::NoCa),
    ];
    for (name, is_ca) in all {
        let issuer = table.root.below("between", is_ca);
        let leaf = issuer.workload(REVIEWS).with(&issuer);
        table.add("issuer that is no authority", name, leaf, Check::IssuerIsCa);
    }
    // A workload that plays the authority, with its own good certificate.
    let workload = table.root.below_with(|it| {
        *it = named(&["spiffe://cluster.local/ns/default/sa/productpage"]);
        it.distinguished_name
            .push(DnType::CommonName, "productpage");
    });
    let leaf = workload.workload(REVIEWS).with(&workload);
    table.add(
        "issuer that is no authority",
        "a workload",
        leaf,
        Check::IssuerIsCa,
    );
}

fn missing(table: &mut Table<'_>) {
    let one = table.root.below("one", CA);
    let two = one.below("two", CA);
    let other = table.root.below("other", CA);
    for (name, leaf) in [
        ("the only one", one.workload(REVIEWS)),
        ("the lower of two", two.workload(REVIEWS).with(&one)),
        ("the upper of two", two.workload(REVIEWS).with(&two)),
        ("both", two.workload(REVIEWS)),
        (
            "in the place of which is another",
            one.workload(REVIEWS).with(&other),
        ),
        (
            "in the place of which is the root",
            one.workload(REVIEWS).with(table.root),
        ),
    ] {
        table.add("missing issuer", name, leaf, Check::Issuer);
    }
}

fn lengths(table: &mut Table<'_>) {
    let bound = |bound: u8| {
        table
            .root
            .below_with(|it| it.is_ca = IsCa::Ca(BasicConstraints::Constrained(bound)))
    };
    let none = bound(0);
    let under = none.below("under", CA);
    let one = bound(1);
    let first = one.below("first", CA);
    let second = first.below("second", CA);
    for (name, leaf) in [
        (
            "one below none",
            under.workload(REVIEWS).with(&under).with(&none),
        ),
        (
            "two below one",
            second
                .workload(REVIEWS)
                .with(&second)
                .with(&first)
                .with(&one),
        ),
    ] {
        table.add("path length", name, leaf, Check::PathLength);
    }
    let repeated = |count: usize| {
        let between = table.root.below("between", CA);
        (0..count).fold(between.workload(REVIEWS), |leaf, _| leaf.with(&between))
    };
    let mut issuers = vec![table.root.below("0", CA)];
    for at in 1..8 {
        issuers.push(issuers[at - 1].below(&at.to_string(), CA));
    }
    let deep = issuers
        .iter()
        .rev()
        .fold(issuers[7].workload(REVIEWS), Leaf::with);
    let noise = |count: usize| {
        let mut leaf = table.root.workload(REVIEWS);
        leaf.chain
            .extend((0..count).map(|_| CertificateDer::from(vec![0x30; 64])));
        leaf
    };
    for (name, leaf) in [
        ("nine", repeated(8)),
        ("forty", repeated(40)),
        ("nine, each by the next", deep),
        ("noise behind a good one", noise(8)),
        ("much noise", noise(60)),
    ] {
        table.add("chain that is too long", name, leaf, Check::ChainLength);
    }
}

fn constraints(table: &mut Table<'_>) {
    let under = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>, san: SanType| {
        let issuer = table.root.below_with(|it| {
            it.name_constraints = Some(NameConstraints {
                permitted_subtrees: permitted,
                excluded_subtrees: excluded,
            });
        });
        let leaf = issuer.issue(&changed(|it| it.subject_alt_names.push(san)));
        leaf.with(&issuer)
    };
    let host = || GeneralSubtree::DnsName("reviews.default.svc".into());
    let other = || GeneralSubtree::DnsName("example.org".into());
    let net = || GeneralSubtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0]));
    let of_host = || dns("reviews.default.svc");
    let address = |first| SanType::IpAddress([first, 0, 0, 1].into());
    for (name, leaf) in [
        (
            "other hosts permitted",
            under(vec![other()], vec![], of_host()),
        ),
        ("the host excluded", under(vec![], vec![host()], of_host())),
        ("both at once", under(vec![host()], vec![host()], of_host())),
        (
            "other addresses permitted",
            under(vec![net()], vec![], address(192)),
        ),
        (
            "the address excluded",
            under(vec![], vec![net()], address(10)),
        ),
    ] {
        table.add("name constraints", name, leaf, Check::NameConstraints);
    }
}

fn extensions(table: &mut Table<'_>) {
    let critical = |oid: &[u64]| {
        let mut extension = CustomExtension::from_oid_content(oid, vec![5, 0]);
        extension.set_criticality(true);
        vec![extension]
    };
    let own = |oid: &[u64]| {
        table
            .root
            .issue(&changed(|it| it.custom_extensions = critical(oid)))
    };
    let issuer = table
        .root
        .below_with(|it| it.custom_extensions = critical(&[1, 2, 3, 4]));
    for (name, leaf) in [
        ("that nobody knows", own(&[1, 2, 3, 4])),
        ("of policies", own(&[2, 5, 29, 36])),
        ("of the issuer", issuer.workload(REVIEWS).with(&issuer)),
    ] {
        table.add("critical extension", name, leaf, Check::Critical);
    }
}

fn encodings(table: &mut Table<'_>) {
    let good = || table.root.workload(REVIEWS);
    let whole = good().chain[0].to_vec();
    let raw = |bytes: Vec<u8>| {
        let mut leaf = good();
        leaf.chain = vec![bytes.into()];
        leaf
    };
    let cut = [1, 2, 10, 40, whole.len() / 2, whole.len() - 1];
    for at in cut {
        let leaf = raw(whole[..at].to_vec());
        table.add("cut short", &format!("at {at}"), leaf, Check::Encoding);
    }
    let and = |more: &[u8]| [&whole[..], more].concat();
    let sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let mut two_algorithms = whole.clone();
    let last = two_algorithms
        .windows(8)
        .rposition(|it| it == sha256)
        .unwrap();
    two_algorithms[last + 7] = 3;
    for (name, leaf) in [
        ("nothing", raw(vec![])),
        ("a NUL behind", raw(and(&[0]))),
        ("another certificate behind", raw(and(&whole))),
        ("before it", raw([&[0][..], &whole[..]].concat())),
        ("PEM", raw(good().pem.into_bytes())),
        ("zeros", raw(vec![0; 1000])),
        ("depth", raw(vec![0x30; 4000])),
        (
            "a length of 4 GB",
            raw(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30]),
        ),
        (
            "length without end",
            raw(vec![0x30, 0x80, 0x30, 0x80, 0, 0, 0, 0]),
        ),
        ("a private key", raw(good().key.serialize_der())),
        (
            "first version",
            good().replaced(&[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 0]),
        ),
        (
            "a version that is none",
            good().replaced(&[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 9]),
        ),
        ("two algorithms", raw(two_algorithms)),
    ] {
        table.add("no certificate in DER", name, leaf, Check::Encoding);
    }
}

fn keys(table: &mut Table<'_>) {
    let good = || table.root.workload(REVIEWS);
    let of = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap();
    let with = |key| Leaf { key, ..good() };
    for (name, leaf) in [
        ("of another workload", good().with_key_of(good())),
        (
            "of a stranger",
            good().with_key_of(Authority::new("another").workload(REVIEWS)),
        ),
        ("of another kind", with(of(&rcgen::PKCS_ED25519))),
        ("of another curve", with(of(&rcgen::PKCS_ECDSA_P384_SHA384))),
    ] {
        let at = Hostile::new("key of another", name, leaf, (Check::Key, Some(Check::Key)));
        table.all.push(at);
    }
}

impl Leaf {
    fn followed_by(mut self, other: &Self) -> Self {
        self.chain.extend(other.chain.clone());
        self
    }

    /// With one bit changed, so far from the end.
    fn flipped(mut self, from_end: usize) -> Self {
        let mut bytes = self.chain[0].to_vec();
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
        self.chain[0] = bytes.into();
        self
    }

    fn replaced(mut self, from: &[u8], to: &[u8]) -> Self {
        assert_eq!(from.len(), to.len());
        let mut bytes = self.chain[0].to_vec();
        let mut found = 0;
        for at in 0..=bytes.len() - from.len() {
            if &bytes[at..at + from.len()] == from {
                bytes[at..at + from.len()].copy_from_slice(to);
                found += 1;
            }
        }
        assert!(found > 0, "there is no {from:?}");
        self.chain[0] = bytes.into();
        self
    }
}
