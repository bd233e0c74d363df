//! Who holds a token is who it was made for, for as long as it lasts.

use std::time::Duration;

use mesh_control_plane::ca::{NotProven, Proof, Tokens};

use crate::kit::{HOUR, REVIEWS, THIEF, id, now};

#[test]
fn a_token_says_who_holds_it_until_it_expires() {
    let (reviews, first) = Tokens::mint(&id(REVIEWS), HOUR, now()).unwrap();
    let (thief, second) = Tokens::mint(&id(THIEF), HOUR, now()).unwrap();
    let (lost, _) = Tokens::mint(&id(THIEF), HOUR, now()).unwrap();
    let tokens: Tokens = format!("# tokens\n\n{first}{second}").parse().unwrap();
    let caller = tokens.caller(reviews.text(), now()).unwrap();
    assert_eq!((caller.id(), caller.by()), (&id(REVIEWS), Proof::Token));
    assert_eq!(tokens.caller(thief.text(), now()).unwrap().id(), &id(THIEF));
    let last = now() + HOUR - Duration::from_secs(1);
    tokens.caller(reviews.text(), last).unwrap();
    let late = tokens.caller(reviews.text(), now() + HOUR);
    assert_eq!(late.unwrap_err(), NotProven::Expired);
    for text in [
        lost.text(),
        "",
        &reviews.text().to_uppercase(),
        &reviews.text()[1..],
    ] {
        assert_eq!(tokens.caller(text, now()).unwrap_err(), NotProven::Unknown);
    }
    // What the authority keeps is no token.
    for line in [&first, &second] {
        assert!(!line.contains(reviews.text()) && !line.contains(thief.text()));
        let kept = line.split(' ').next().unwrap();
        assert_eq!(tokens.caller(kept, now()).unwrap_err(), NotProven::Unknown);
    }
}

#[test]
fn a_wrong_line_is_named_and_nobody_is_known() {
    let (_, good) = Tokens::mint(&id(REVIEWS), HOUR, now()).unwrap();
    let hash = good.split(' ').next().unwrap();
    for wrong in [
        "one two".to_owned(),
        format!("{hash} soon {REVIEWS}"),
        format!("{hash} 99 reviews"),
        format!("{} 99 {REVIEWS}", &hash[1..]),
        format!("{} 99 {REVIEWS}", "+".repeat(64)),
        good.clone(),
    ] {
        let error = format!("{good}{wrong}").parse::<Tokens>().unwrap_err();
        assert!(error.to_string().starts_with("line 2 "), "{error}");
    }
}
