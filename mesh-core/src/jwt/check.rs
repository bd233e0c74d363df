//! The decision.

use std::sync::Arc;

use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use super::effects::Verified;
use super::jwk::{Jwk, Jwks};
use super::outcome::{Outcome, Why};
use super::place::{self, Found};
use super::rules::{
    Audiences, Expiration, Keys, Otherwise, Provider, RemoteJwks, Requirement, Rules,
};
use super::token::{Alg, Token};
use crate::RequestView;

/// How many tokens of one request are judged where each of them counts.
const MOST: usize = 32;

/// The cryptography.
pub trait Verify {
    /// Whether `signature` is that of `message` by the private half of `key`. The key fits the algorithm
    /// ([`KeyType::fits`](super::KeyType::fits)); the signature is as in the token: that of ECDSA is of two numbers of the
    /// same length (RFC 7518, 3.4). Whoever does not know an algorithm says no.
    fn verify(&self, alg: Alg, key: &Jwk, message: &[u8], signature: &[u8]) -> bool;
}

/// Where keys are that had to be fetched.
pub trait Fetched {
    /// The keys of a source, `None` when there are none yet, or no longer.
    fn keys(&self, source: &Arc<RemoteJwks>) -> Option<Arc<Jwks>>;

    /// None of the keys of this source fits a token: they may have changed there since they were fetched. Anybody can send
    /// such a token.
    fn missed(&self, _: &Arc<RemoteJwks>) {}
}

/// Nothing is fetched.
impl Fetched for () {
    fn keys(&self, _: &Arc<RemoteJwks>) -> Option<Arc<Jwks>> {
        None
    }
}

/// Judges a request by its tokens. `now` is in seconds since 1970.
pub fn check(
    rules: &Rules,
    request: &RequestView<'_>,
    now: u64,
    fetched: &dyn Fetched,
    verify: &dyn Verify,
) -> Outcome {
    if rules.bypass_cors_preflight && is_preflight(request) {
        return Outcome::Missing;
    }
    let Some(rule) = rules.rules.iter().find(|rule| rule.matches(request)) else {
        return Outcome::Missing;
    };
    let mut judge = Judge {
        request,
        now,
        fetched,
        verify,
        verified: None,
    };
    match (judge.meets(&rule.requires), judge.verified) {
        (Err(why), _) => Outcome::Refused(why),
        (Ok(()), Some(verified)) => Outcome::Verified(verified),
        (Ok(()), None) => Outcome::Missing,
    }
}

/// A browser asks before it sends what it has, and sends no credentials with the question.
fn is_preflight(request: &RequestView<'_>) -> bool {
    let says = |name| {
        request
            .headers
            .get(name)
            .is_some_and(|value| !value.is_empty())
    };
    *request.method == Method::OPTIONS && says(ORIGIN) && says(ACCESS_CONTROL_REQUEST_METHOD)
}

struct Judge<'a> {
    request: &'a RequestView<'a>,
    now: u64,
    fetched: &'a dyn Fetched,
    verify: &'a dyn Verify,
    /// What good tokens said, also those of a branch that was not met in the end (Envoy).
    verified: Option<Verified>,
}

impl<'a> Judge<'a> {
    fn meets(&mut self, requirement: &'a Requirement) -> Result<(), Why> {
        match requirement {
            Requirement::Nothing => Ok(()),
            Requirement::Provider(provider) => self.one(provider, provider.audiences.as_ref()),
            Requirement::ProviderAndAudiences(provider, audiences) => {
                self.one(provider, Some(audiences))
            }
            Requirement::Any { of, otherwise } => self.any(of, *otherwise),
            Requirement::All(all) => all.iter().try_for_each(|one| self.meets(one)),
            Requirement::AllowMissing(providers) => self.each(providers, false),
            Requirement::AllowMissingOrFailed(providers) => self.each(providers, true),
        }
    }

    /// What is told is the last fault of a token that is there and of this issuer, if there is one (Envoy).
    fn any(&mut self, of: &'a [Requirement], otherwise: Otherwise) -> Result<(), Why> {
        let mut told = Why::Missing;
        for one in of {
            match self.meets(one) {
                Ok(()) => return Ok(()),
                Err(why) if !why.is_of_another() || told == Why::Missing => told = why,
                Err(_) => {}
            }
        }
        match otherwise {
            Otherwise::MissingOrFailed => Ok(()),
            Otherwise::Missing if told == Why::Missing => Ok(()),
            Otherwise::Missing | Otherwise::Refused => Err(told),
        }
    }

    fn one(&mut self, provider: &'a Provider, audiences: Option<&Audiences>) -> Result<(), Why> {
        let found = place::tokens(&provider.places, self.request);
        self.only(provider, audiences, &found)
    }

    /// The one token of a provider, wherever it is.
    fn only(
        &mut self,
        provider: &'a Provider,
        audiences: Option<&Audiences>,
        found: &[Found<'_>],
    ) -> Result<(), Why> {
        let (first, others) = found.split_first().ok_or(Why::Missing)?;
        if others.iter().any(|other| other.text != first.text) {
            return Err(Why::Several);
        }
        let token = Token::parse(&first.text)?;
        self.judge(provider, audiences, &token)?;
        let verified = self.verified.get_or_insert_default();
        verified.take(provider, token, found);
        Ok(())
    }

    /// Every token, each by the provider that has its place and its issuer. A target has room for a thousand that are none,
    /// and judging one means looking for it in all places: where one that fails is refused the first ends it, else those
    /// beyond [`MOST`] count as failed.
    fn each(&mut self, providers: &'a [Arc<Provider>], or_failed: bool) -> Result<(), Why> {
        let mut judged: Vec<String> = Vec::new();
        for provider in providers {
            for found in place::tokens(&provider.places, self.request) {
                if judged.iter().any(|text| *text == found.text) {
                    continue;
                }
                let met = match judged.len() < MOST {
                    true => self.of_issuer(providers, &found.text),
                    false => Err(Why::Several),
                };
                match met {
                    Err(why) if !or_failed => return Err(why),
                    Err(Why::Several) if judged.len() >= MOST => return Ok(()),
                    _ => judged.push(found.text.clone().into_owned()),
                }
            }
        }
        Ok(())
    }

    /// The provider of the token's issuer, or else the first that takes any; it must have the token's place.
    fn of_issuer(&mut self, providers: &'a [Arc<Provider>], text: &str) -> Result<(), Why> {
        let token = Token::parse(text)?;
        let issuer = token.claims.issuer;
        let has = |provider: &&Arc<Provider>| {
            let found = place::tokens(&provider.places, self.request);
            found.iter().any(|found| found.text == text)
        };
        let having: Vec<_> = providers.iter().filter(has).collect();
        let named = having
            .iter()
            .find(|it| it.issuer.is_some() && it.issuer == issuer);
        let provider = named.or_else(|| having.iter().find(|it| it.issuer.is_none()));
        let provider = *provider.ok_or(Why::UnknownIssuer)?;
        self.one(provider, provider.audiences.as_ref())
    }

    /// Everything that a provider asks of a token, in Envoy's order; the signature last, since it costs most.
    fn judge(
        &self,
        provider: &Provider,
        audiences: Option<&Audiences>,
        token: &Token<'_>,
    ) -> Result<(), Why> {
        let claims = &token.claims;
        if provider.issuer.is_some() && provider.issuer != claims.issuer {
            return Err(Why::UnknownIssuer);
        }
        let subject = claims.subject.as_deref().unwrap_or_default();
        let subjects = provider.subjects.as_ref();
        if subjects.is_some_and(|wanted| !wanted.matches(subject.as_bytes())) {
            return Err(Why::SubjectNotAllowed);
        }
        self.time(provider, claims.not_before, claims.expires)?;
        if audiences.is_some_and(|allowed| !allowed.allow(&claims.audiences)) {
            return Err(Why::AudienceNotAllowed);
        }
        self.signature(provider, token)
    }

    fn time(
        &self,
        provider: &Provider,
        not_before: Option<u64>,
        expires: Option<u64>,
    ) -> Result<(), Why> {
        let (now, skew) = (self.now, provider.clock_skew);
        if not_before.is_some_and(|start| now.saturating_add(skew) < start) {
            return Err(Why::NotYetValid);
        }
        if expires.is_some_and(|end| now > end.saturating_add(skew)) {
            return Err(Why::Expired);
        }
        let ends = match provider.expiration {
            Expiration::Optional => true,
            Expiration::Required => expires.is_some(),
            Expiration::Within(most) => expires.is_some_and(|end| end.saturating_sub(now) <= most),
        };
        if ends { Ok(()) } else { Err(Why::Lifetime) }
    }

    fn signature(&self, provider: &Provider, token: &Token<'_>) -> Result<(), Why> {
        let fetched;
        let keys = match &provider.keys {
            Keys::Local(keys) => keys,
            Keys::Unusable(_) => return Err(Why::NoKeys),
            Keys::Remote(source) => {
                fetched = self.fetched.keys(source).ok_or(Why::NotFetched)?;
                &fetched
            }
        };
        let (alg, signature) = (token.alg, &*token.signature);
        let mut keys = keys.fitting(alg, token.kid.as_deref()).peekable();
        if keys.peek().is_none() {
            if let Keys::Remote(source) = &provider.keys {
                self.fetched.missed(source);
            }
            return Err(Why::NoSuchKey);
        }
        if alg == Alg::EdDSA && signature.len() != 64 {
            return Err(Why::Ed25519Length);
        }
        let message = token.signed.as_bytes();
        if keys.any(|key| self.verify.verify(alg, key, message, signature)) {
            Ok(())
        } else {
            Err(Why::Verification)
        }
    }
}
