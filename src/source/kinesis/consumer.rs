//! A consumer of a stream: the name under which shards are subscribed to, with a bandwidth of its own.
//!
//! Owns its registration and its end. A consumer costs money for as long as it is registered, whether it is used or
//! not, so none is registered but on order. It reads nothing: `fan_out` does.

use std::time::Duration;

use aws_sdk_kinesis::types::ConsumerStatus;

use super::connection::{Connection, KinesisSettings};
use super::fault::Fault;
use super::subscription::Timing;
use crate::error::{Error, Result};
use crate::runtime::Context;

/// From one look at a consumer that is being made or deleted to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// AWS takes some seconds, up to a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Consumers that a stream takes (AWS: 20, more on demand with an advantage plan).
const MOST_CONSUMERS: usize = 20;

/// A registered consumer of a stream, ready to be subscribed with.
#[derive(Debug, Clone)]
pub struct FanOutConsumer {
    pub(super) arn: String,
    pub(super) timing: Timing,
}

impl FanOutConsumer {
    /// Registers a consumer of this name where it isn't there, and waits until it can be used. One that is being
    /// deleted is waited for and registered anew.
    ///
    /// # Errors
    /// Invalid where the stream does not exist, has as many consumers as it takes, or the name or the rights are
    /// refused; Transient where the server cannot be reached or the consumer isn't ready after 5 minutes.
    pub async fn register(settings: KinesisSettings, context: Context, name: &str) -> Result<Self> {
        let registry = Registry::of(settings, context, name).await?;
        let started_at = registry.connection.context.clock.now_micros();
        loop {
            match registry.look().await? {
                Some((arn, ConsumerStatus::Active)) => return Ok(Self { arn, timing: Timing::default() }),
                None => registry.make().await?,
                Some(_) => {}
            }
            registry.wait(started_at, "ready").await?;
        }
    }

    /// Ends the consumer of this name. Returns whether it was there.
    ///
    /// # Errors
    /// Invalid where the stream does not exist or the rights are refused; Transient where the server cannot be reached
    /// or the consumer is still being made after 5 minutes.
    pub async fn deregister(settings: KinesisSettings, context: Context, name: &str) -> Result<bool> {
        let registry = Registry::of(settings, context, name).await?;
        let started_at = registry.connection.context.clock.now_micros();
        loop {
            match registry.look().await? {
                None | Some((_, ConsumerStatus::Deleting)) => return Ok(false),
                Some((_, ConsumerStatus::Creating)) => {}
                Some((arn, _)) => match registry.end(&arn).await {
                    Ok(()) => return Ok(true),
                    Err(Fault::NotFound(_)) => return Ok(false),
                    Err(Fault::InUse(_)) => {}
                    Err(fault) => return Err(registry.give_up("deregister", &fault)),
                },
            }
            registry.wait(started_at, "to be deregistered").await?;
        }
    }
}

/// One name among a stream's consumers.
struct Registry<'a> {
    connection: Connection,
    stream_arn: String,
    name: &'a str,
}

impl<'a> Registry<'a> {
    async fn of(settings: KinesisSettings, context: Context, name: &'a str) -> Result<Self> {
        let connection = Connection::new(settings, context, "nothing of the stream is changed by this");
        let stream = &connection.settings.stream;
        let answer = connection.repeat(|| connection.summary()).await;
        let answer = answer.map_err(|fault| connection.give_up("look for its consumers", &fault))?;
        let unnamed = || Error::corrupt(format!("the stream {stream} does not describe itself"));
        let stream_arn = answer.stream_description_summary.ok_or_else(unnamed)?.stream_arn;
        Ok(Self { connection, stream_arn, name })
    }

    /// Its ARN and how far it is; none where there is no such consumer.
    async fn look(&self) -> Result<Option<(String, ConsumerStatus)>> {
        let request = self.connection.client.describe_stream_consumer();
        let request = request.stream_arn(&self.stream_arn).consumer_name(self.name);
        match self.connection.repeat(|| request.clone().send()).await {
            Ok(answer) => {
                Ok(answer.consumer_description.map(|consumer| (consumer.consumer_arn, consumer.consumer_status)))
            }
            Err(Fault::NotFound(_)) => Ok(None),
            Err(fault) => Err(self.give_up("look at", &fault)),
        }
    }

    /// Registers it; that it is there already is as good.
    async fn make(&self) -> Result<()> {
        let request = self.connection.client.register_stream_consumer();
        let request = request.stream_arn(&self.stream_arn).consumer_name(self.name);
        let outcome = match self.connection.once(request.clone().send()).await {
            // The same word is said of too many calls and of too many consumers.
            Err(Fault::Throttled(words)) if self.others().await? >= MOST_CONSUMERS => {
                let (stream, name) = (&self.connection.settings.stream, self.name);
                let message =
                    format!("cannot register the consumer {name}: the stream {stream} has as many as it takes");
                let advice = "deregister one that is not used, or read without fan-out";
                return Err(Error::invalid(format!("{message} ({words}): {advice}")));
            }
            Err(fault) if fault.passes() => self.connection.repeat(|| request.clone().send()).await,
            outcome => outcome,
        };
        match outcome {
            Ok(_) | Err(Fault::InUse(_)) => Ok(()),
            Err(fault) => Err(self.give_up("register", &fault)),
        }
    }

    /// How many consumers the stream has.
    async fn others(&self) -> Result<usize> {
        let request = self.connection.client.list_stream_consumers().stream_arn(&self.stream_arn).max_results(100);
        let answer = self.connection.repeat(|| request.clone().send()).await;
        let answer = answer.map_err(|fault| self.connection.give_up("list its consumers", &fault))?;
        Ok(answer.consumers().len())
    }

    async fn end(&self, arn: &str) -> Result<(), Fault> {
        let request = self.connection.client.deregister_stream_consumer().consumer_arn(arn);
        self.connection.repeat(|| request.clone().send()).await.map(|_| ())
    }

    async fn wait(&self, started_at: i64, until: &str) -> Result<()> {
        let clock = &self.connection.context.clock;
        let waited = u128::try_from(clock.now_micros().saturating_sub(started_at)).unwrap_or(0);
        if waited > LONGEST_WAIT.as_micros() {
            let (stream, name, seconds) = (&self.connection.settings.stream, self.name, LONGEST_WAIT.as_secs());
            let message = format!("the consumer {name} of the stream {stream} is not {until} after {seconds} s");
            return Err(Error::transient(format!("{message}: look at its status, then try again")));
        }
        clock.sleep(LOOK_INTERVAL).await;
        Ok(())
    }

    fn give_up(&self, doing: &str, fault: &Fault) -> Error {
        self.connection.give_up(&format!("{doing} its consumer {}", self.name), fault)
    }
}

#[cfg(test)]
mod tests {
    use ferrokinesis::store::StoreOptions;

    use super::super::stand_in::{StandIn, Trouble};
    use super::*;
    use crate::error::ErrorKind;

    async fn stand_in() -> StandIn {
        let stand_in = StandIn::start(StoreOptions { create_stream_ms: 0, ..StoreOptions::default() }).await;
        stand_in.stream("orders", 1).await;
        stand_in
    }

    async fn register(stand_in: &StandIn, name: &str) -> Result<FanOutConsumer> {
        FanOutConsumer::register(stand_in.settings("orders"), Context::system(), name).await
    }

    async fn deregister(stand_in: &StandIn, name: &str) -> bool {
        let settings = stand_in.settings("orders");
        FanOutConsumer::deregister(settings, Context::system(), name).await.expect("deregistered")
    }

    #[tokio::test]
    async fn a_consumer_is_registered_once_found_again_and_anew_after_its_end() {
        let stand_in = stand_in().await;
        assert!(!deregister(&stand_in, "millstream").await, "not there yet");
        stand_in.trouble("RegisterStreamConsumer", Trouble::Refused(400, "LimitExceededException"));
        let first = register(&stand_in, "millstream").await.expect("registered");
        assert_eq!(register(&stand_in, "millstream").await.expect("found").arn, first.arn);
        assert_eq!(stand_in.requests("RegisterStreamConsumer"), 2, "one of them refused");

        assert!(deregister(&stand_in, "millstream").await);
        assert!(!deregister(&stand_in, "millstream").await, "it is being deleted");
        register(&stand_in, "millstream").await.expect("waited for and registered");
        assert_eq!(stand_in.requests("RegisterStreamConsumer"), 3);
    }

    #[tokio::test]
    async fn one_that_was_registered_by_somebody_else_meanwhile_is_taken() {
        let stand_in = stand_in().await;
        let first = register(&stand_in, "millstream").await.expect("registered");
        stand_in.trouble("DescribeStreamConsumer", Trouble::Refused(400, "ResourceNotFoundException"));
        assert_eq!(register(&stand_in, "millstream").await.expect("in use").arn, first.arn);
    }

    #[tokio::test]
    async fn more_consumers_than_a_stream_takes_are_the_users_to_change() {
        let stand_in = stand_in().await;
        let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
        futures::future::try_join_all(names.iter().map(|name| register(&stand_in, name))).await.expect("20 of them");
        let error = register(&stand_in, "millstream").await.expect_err("the 21st");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains("the stream orders has as many as it takes (LimitExceeded"), "{text}");
        assert!(text.ends_with("deregister one that is not used, or read without fan-out"), "{text}");
    }

    #[tokio::test]
    async fn a_stream_that_does_not_exist_has_no_consumers() {
        let stand_in = stand_in().await;
        let settings = stand_in.settings("elsewhere");
        let registered = FanOutConsumer::register(settings.clone(), Context::system(), "c").await;
        let deregistered = FanOutConsumer::deregister(settings, Context::system(), "c").await;
        for error in [registered.expect_err("no stream"), deregistered.expect_err("no stream")] {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("the stream elsewhere at http://127.0.0.1"), "{error}");
        }
    }
}
