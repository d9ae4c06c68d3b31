//! The models that can be called: built-in ones, registered ones, and others if their name suggests a provider or the
//! request names one.

use std::num::NonZeroU32;

use records::Service;
use store::{
    postgres::{Database, RegisteredModel, Registration},
    storage::{MAX_ANSWER_BYTES, StorageError},
};
use tokio::sync::{Notify, OnceCell};

use super::{error::RunError, observer::Observer};
use crate::{
    provider::{
        Completion, Error, Provider, ProviderConfig, Request,
        limits::{AttemptLog, Backoff, Budget, CallError, Caller, Gates},
    },
    registry::{self, Model},
};

/// A provider, and whether it can be called.
#[derive(Clone, Debug)]
pub enum ProviderAccess {
    /// It can be called.
    Ready(ProviderConfig),
    /// It requires a key, and none is set.
    NoKey {
        /// The provider's name.
        provider: String,
        /// The setting of its key.
        setting: &'static str,
    },
}

/// Limits of calls and retries.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Most concurrent calls of one model, over all requests and runs. Reduced when its provider requests it.
    pub calls_at_once: NonZeroU32,
    /// Retries of calls for which a client waits.
    pub backoff: Backoff,
    /// Retries of calls for runs, for which no client waits.
    pub run_backoff: Backoff,
}

/// The models and their providers.
#[derive(Debug)]
pub struct Models {
    database: Database,
    observer: Observer,
    providers: Vec<(String, Result<Caller, &'static str>)>,
    run_backoff: Backoff,
    /// A model was registered or changed in this process.
    registered: Notify,
}

/// A model from a request.
#[derive(Debug)]
pub(crate) struct ChosenModel {
    pub(crate) model: Model,
    caller: Caller,
    /// Whether it was unknown; it is registered with its first answer.
    is_new: bool,
    registered: OnceCell<()>,
}

impl Models {
    /// # Errors
    /// When the configuration of a provider is invalid.
    pub(crate) fn new(
        database: Database,
        observer: Observer,
        providers: &[ProviderAccess],
        patience: CallLimits,
    ) -> Result<Self, Error> {
        let CallLimits { calls_at_once, backoff, run_backoff } = patience;
        let gates = Gates::new(calls_at_once);
        let providers = providers.iter().map(|access| match access {
            ProviderAccess::Ready(config) => {
                let provider = Provider::new(config.clone())?;
                Ok((config.name.clone(), Ok(Caller::new(provider, gates.clone(), backoff))))
            }
            ProviderAccess::NoKey { provider, setting } => Ok((provider.clone(), Err(*setting))),
        });
        let providers = providers.collect::<Result<_, _>>()?;
        Ok(Self { database, observer, providers, run_backoff, registered: Notify::new() })
    }

    /// All known models, by provider and id.
    ///
    /// # Errors
    /// [`RunError::Refused`] when they exceed the size of a response; when PostgreSQL fails.
    pub async fn list(&self) -> Result<Vec<Model>, RunError> {
        let listed = self.database.registered_models();
        let registered = match self.observer.storage(Service::Judge, "list_models", listed).await {
            Err(StorageError::TooLarge) => {
                let reason = format!(
                    "the registered models have more than {MAX_ANSWER_BYTES} bytes: delete unneeded rows from table `models`"
                );
                return Err(RunError::refused("models", reason));
            }
            listed => listed?,
        };
        let mut models: Vec<Model> = registry::known()
            .iter()
            .filter(|known| !registered.iter().any(|model| model.id == known.id))
            .cloned()
            .collect();
        models.extend(registered.into_iter().map(model));
        models.sort_by(|a, b| (&a.provider, &a.id).cmp(&(&b.provider, &b.id)));
        Ok(models)
    }

    /// Registers a model, or changes one.
    ///
    /// # Errors
    /// When the provider is unknown, or PostgreSQL fails.
    pub async fn register(&self, model: &RegisteredModel) -> Result<Registration, RunError> {
        self.check_provider("provider", &model.provider)?;
        let registered = self.database.register_model(model);
        let registration = self.observer.storage(Service::Judge, "register_model", registered).await?;
        self.registered.notify_one();
        Ok(registration)
    }

    /// Returns when a model was registered in this process since the last return; for the runner.
    pub(crate) async fn registered(&self) {
        self.registered.notified().await;
    }

    /// The model `id` from the request's `field`, at `provider` if the request names one.
    pub(crate) async fn choose(
        &self,
        field: &'static str,
        id: &str,
        provider: Option<&str>,
    ) -> Result<ChosenModel, RunError> {
        if let Some(provider) = provider {
            self.check_provider("model_provider", provider)?;
        }
        let found = self.database.registered_model(id);
        let registered = self.observer.storage(Service::Judge, "find_model", found).await?;
        let known = registered.map(model).or_else(|| registry::find(id).cloned());
        let is_new = known.is_none();
        let model = match (known, provider) {
            (Some(known), None) => known,
            (Some(known), Some(provider)) if known.provider == provider => known,
            // The provider in the request takes precedence.
            (_, Some(provider)) => Model::unknown(id, provider),
            (None, None) => Model::guessed(id).ok_or_else(|| self.unknown(field, id))?,
        };
        let caller = match self.caller(&model.provider) {
            Some(Ok(caller)) => caller.clone(),
            Some(Err(setting)) => {
                let provider = &model.provider;
                return Err(RunError::refused(
                    field,
                    format!(
                        "model `{id}` is of provider `{provider}`, for which this server has no key: set {setting}, or choose another model"
                    ),
                ));
            }
            None => return Err(self.unknown(field, id)),
        };
        Ok(ChosenModel { model, caller, is_new, registered: OnceCell::new() })
    }

    /// Calls the model. If it was unknown and answers, it is registered.
    pub(crate) async fn ask(
        &self,
        chosen: &ChosenModel,
        request: &Request,
    ) -> Result<Result<Completion, Error>, RunError> {
        let completion = match chosen.caller.call(&chosen.model, request, &Budget::unlimited(), &mut ()).await
        {
            Ok(completion) => completion,
            Err(CallError::Provider { attempts: _, source }) => return Ok(Err(source)),
            Err(CallError::Budget(exceeded)) => unreachable!("nothing limits it: {exceeded}"),
            Err(CallError::Log(never)) => match never {},
        };
        self.register_new(chosen).await?;
        Ok(Ok(completion))
    }

    /// As [`Models::ask`] for a run, with a budget, a log of attempts, and longer retries.
    pub(crate) async fn ask_for_run<L: AttemptLog>(
        &self,
        chosen: &ChosenModel,
        request: &Request,
        budget: &Budget,
        log: &mut L,
    ) -> Result<Completion, CallError<L::Error>> {
        let caller = chosen.caller.clone().with_backoff(self.run_backoff);
        caller.call(&chosen.model, request, budget, log).await
    }

    /// Registers a model that has answered, if it was unknown.
    pub(crate) async fn register_new(&self, chosen: &ChosenModel) -> Result<(), RunError> {
        let ChosenModel { model, is_new, registered, caller: _ } = chosen;
        if *is_new {
            let row = RegisteredModel {
                id: model.id.clone(),
                name: model.name.clone(),
                provider: model.provider.clone(),
                is_judge_compatible: model.is_judge_compatible,
            };
            let store = || async {
                let stored = self.database.register_new_model(&row);
                self.observer.storage(Service::Judge, "register_model", stored).await
            };
            registered.get_or_try_init(store).await?;
        }
        Ok(())
    }

    fn caller(&self, provider: &str) -> Option<&Result<Caller, &'static str>> {
        self.providers.iter().find(|(name, _)| name == provider).map(|(_, caller)| caller)
    }

    fn check_provider(&self, field: &'static str, provider: &str) -> Result<(), RunError> {
        match self.caller(provider) {
            Some(_) => Ok(()),
            None => Err(RunError::refused(
                field,
                format!("expected one of {}, found `{provider}`", self.provider_names()),
            )),
        }
    }

    fn unknown(&self, field: &'static str, id: &str) -> RunError {
        let remedy = if field == "model_id" { "give `model_provider`, or register" } else { "register" };
        RunError::refused(
            field,
            format!(
                "unknown model `{id}`, and its name suggests no provider: {remedy} it by POST /api/v1/models with its provider ({})",
                self.provider_names()
            ),
        )
    }

    fn provider_names(&self) -> String {
        self.providers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl ChosenModel {
    /// Whether this request's answers registered it.
    pub(crate) fn is_registered_now(&self) -> bool {
        self.registered.initialized()
    }
}

/// A registered model, with prices and capabilities if it is a built-in one of the same provider.
fn model(registered: RegisteredModel) -> Model {
    let RegisteredModel { id, name, provider, is_judge_compatible } = registered;
    let known = registry::find(&id).filter(|known| known.provider == provider).cloned();
    let known = known.unwrap_or_else(|| Model::unknown(&id, &provider));
    Model { name, is_judge_compatible, ..known }
}
