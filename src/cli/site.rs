//! Where a pipeline's parts are built: from a folder and options to an `engine::Job`.
//!
//! The order matters: every fault of the folder first, then whose the place is, then the stream. So what is wrong is
//! told before anything is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::Common;
use super::data_folder::DataFolder;
use super::local_stream::LocalStream;
use super::open::{Plan, plan};
use super::owner::{OWNER, Owner};
use super::reach::{Reach, chain};
use super::warehouse::SiteWarehouse;
use crate::aws::AwsChain;
use crate::config::{AwsTarget, StoreAddress, Target, WarehouseSettings};
use crate::engine::{Connect, Job};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Context;
use crate::stage::Stager;
use crate::store::{Folder, Put, S3Settings, Store, parse_s3};

/// The warehouse's folder in an object store.
const WAREHOUSE: &str = "warehouse";

/// The parts of a pipeline on its target, without its stream.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) plan: Plan,
    pub(super) store: Store,
    pub(super) warehouse: SiteWarehouse,
    pub(super) context: Context,
    home: Home,
}

/// Where all of it is.
#[derive(Clone)]
enum Home {
    Folder(DataFolder),
    Address(String),
}

/// What a command does with the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// It makes the place the pipeline's.
    Claim,
    /// It only looks at what earlier commands have made.
    Look,
}

impl Site {
    /// Takes the place and opens the stream, in this order: whose the place is, whether the stream can be opened, and
    /// only then the first byte is written.
    ///
    /// # Errors
    /// As [`Site::claim`], and as [`Reach::open`].
    pub(super) async fn with_stream(common: &Common, plan: Plan) -> Result<(Self, Reach)> {
        match plan.target.clone() {
            Target::Local(_) => {
                let stream = LocalStream::open(common, &plan, &Context::system()).await?;
                let data = DataFolder::claim(&common.data, &plan.pipeline)?;
                Ok((Self::over_folder(plan, data).await?, Reach::Local(stream)))
            }
            Target::Aws(target) => {
                let chain = chain(&target).await?;
                let reach = Reach::of(&plan, &target, &chain);
                match reach.must_be_there(&Context::system()).await {
                    Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                    // What passes is outlasted by a run that goes on, and given up by one that is to end.
                    _ => {}
                }
                Ok((Self::in_aws(plan, open_store(&target, Some(chain)).await?, Access::Claim).await?, reach))
            }
        }
    }

    /// Takes the place, making it where it is missing.
    ///
    /// # Errors
    /// Invalid where the pipeline has faults, or the place is another's.
    pub(super) async fn claim(common: &Common, folder: &Path) -> Result<Self> {
        Self::open(common, folder, Access::Claim).await
    }

    /// Opens the place that earlier commands have made.
    ///
    /// # Errors
    /// As [`Site::claim`], and where there is none.
    pub(super) async fn existing(common: &Common, folder: &Path) -> Result<Self> {
        Self::open(common, folder, Access::Look).await
    }

    /// Checks that the place could be taken, and writes nothing.
    ///
    /// # Errors
    /// As [`Site::claim`].
    pub(super) async fn could_be_claimed(common: &Common, plan: &Plan) -> Result<()> {
        match &plan.target {
            Target::Local(_) => DataFolder::could_be_claimed(&common.data, &plan.pipeline),
            Target::Aws(target) if missing_folder(target).is_some() => Ok(()),
            Target::Aws(target) => {
                let (opened, address) = open_store(target, None).await?;
                match read_owner(&opened.store, &address).await? {
                    Some(owner) => owner.must_be(&Owner::of(&plan.pipeline), &address),
                    None => Ok(()),
                }
            }
        }
    }

    /// The warehouse alone, without a claim on the place.
    ///
    /// # Errors
    /// As [`Site::claim`].
    pub(super) async fn warehouse(common: &Common, plan: &Plan) -> Result<SiteWarehouse> {
        let opened = match &plan.target {
            Target::Aws(target) if missing_folder(target).is_none() => open_store(target, None).await?.0,
            // Nothing is read or written there.
            _ => Opened { store: Store::memory("nowhere")?, folder: Folder::Local(common.data.clone()), chain: None },
        };
        let Opened { store, folder, chain } = opened;
        SiteWarehouse::open(plan, (&store, folder), chain, &Context::system()).await
    }

    async fn open(common: &Common, folder: &Path, access: Access) -> Result<Self> {
        let plan = plan(common, folder).await?;
        match plan.target.clone() {
            Target::Local(_) => {
                let data = match access {
                    Access::Claim => DataFolder::claim(&common.data, &plan.pipeline)?,
                    Access::Look => DataFolder::existing(&common.data, &plan.pipeline)?,
                };
                Self::over_folder(plan, data).await
            }
            Target::Aws(target) => {
                // Opening a folder makes it, and who only looks makes nothing.
                if let Some(address) = missing_folder(&target).filter(|_| access == Access::Look) {
                    return Err(no_data(&plan, &address));
                }
                Self::in_aws(plan, open_store(&target, None).await?, access).await
            }
        }
    }

    async fn over_folder(plan: Plan, data: DataFolder) -> Result<Self> {
        let (store, folder) = (Store::local(&data.lake())?, Folder::Local(data.warehouse()));
        Self::over(plan, Opened { store, folder, chain: None }, Home::Folder(data)).await
    }

    async fn in_aws(plan: Plan, (opened, address): (Opened, String), access: Access) -> Result<Self> {
        take(&opened.store, &plan, &address, access).await?;
        Self::over(plan, opened, Home::Address(address)).await
    }

    async fn over(plan: Plan, Opened { store, folder, chain }: Opened, home: Home) -> Result<Self> {
        let context = Context::system();
        let warehouse = SiteWarehouse::open(&plan, (&store, folder), chain, &context).await?;
        Ok(Self { plan, store, warehouse, context, home })
    }

    /// The job over a stream.
    pub(super) fn job(&self, connect: Connect) -> Job {
        Job {
            pipeline: Arc::clone(&self.plan.pipeline),
            connect,
            decoder: Arc::clone(&self.plan.decoder),
            cleaner: Arc::clone(&self.plan.cleaner),
            stager: Arc::new(self.stager()),
            store: self.store.clone(),
            warehouse: self.warehouse.get(),
            context: self.context.clone(),
        }
    }

    fn stager(&self) -> Stager {
        let fixed =
            matches!(&self.plan.warehouse, WarehouseSettings::Redshift(redshift) if redshift.fixed_length_decimals);
        Stager::new(self.store.clone(), self.context.clone()).with_fixed_length_decimals(fixed)
    }

    /// Where all of it is, for a person: the data folder, or the store's address.
    pub(super) fn address(&self) -> String {
        match &self.home {
            Home::Folder(folder) => folder.root().display().to_string(),
            Home::Address(address) => address.clone(),
        }
    }

    /// The file that keeps what was typed at the prompt; none where nothing of the site is on this machine.
    pub(super) fn query_history(&self) -> Option<PathBuf> {
        match &self.home {
            Home::Folder(folder) => Some(folder.query_history()),
            Home::Address(_) => None,
        }
    }
}

/// The store of a target.
struct Opened {
    store: Store,
    /// The folder of Delta tables.
    folder: Folder,
    /// What AWS was asked with, where it was.
    chain: Option<AwsChain>,
}

/// Opens the store, and tells its address; a folder is made where it is missing. The chain is loaded where it is needed
/// and not known yet.
///
/// # Errors
/// Invalid where the address can be no store's, or S3 is to be used without a region or credentials.
async fn open_store(target: &AwsTarget, known: Option<AwsChain>) -> Result<(Opened, String)> {
    match &target.store {
        StoreAddress::Folder(folder) => {
            let (store, tables) = (Store::local(folder)?, Folder::Local(folder.join(WAREHOUSE)));
            Ok((Opened { store, folder: tables, chain: known }, folder_address(folder)))
        }
        StoreAddress::S3(address) => {
            let (bucket, prefix) = parse_s3(address)?;
            let chain = match known {
                Some(chain) => chain,
                None => chain(target).await?,
            };
            let endpoint = target.store_endpoint.clone();
            let known = Some(chain.clone());
            let settings = S3Settings { bucket, prefix, endpoint, path_style: target.path_style, chain };
            let store = Store::s3(settings)?;
            let folder = Folder::Store(store.clone(), WAREHOUSE.to_owned());
            Ok((Opened { store, folder, chain: known }, address.clone()))
        }
    }
}

fn folder_address(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// The address of a target's store that is a folder, and not there.
fn missing_folder(target: &AwsTarget) -> Option<String> {
    match &target.store {
        StoreAddress::Folder(folder) if !folder.exists() => Some(folder_address(folder)),
        _ => None,
    }
}

fn no_data(plan: &Plan, address: &str) -> Error {
    let (folder, target) = (plan.pipeline.folder.display(), &plan.target_name);
    Error::invalid(format!(
        "there is no data in {address}; run the pipeline first (`millstream run {folder} --target {target}`)"
    ))
}

async fn read_owner(store: &Store, address: &str) -> Result<Option<Owner>> {
    let bytes = store.get(OWNER).await.map_err(|error| error.context(address))?;
    bytes.map(|bytes| Owner::parse(&bytes, address)).transpose()
}

/// Makes the store the pipeline's, or finds that it is.
async fn take(store: &Store, plan: &Plan, address: &str, access: Access) -> Result<()> {
    let ours = Owner::of(&plan.pipeline);
    let told = |error: Error| error.context(address);
    let mut found = read_owner(store, address).await?;
    if found.is_none() && access == Access::Claim {
        match store.put_if_absent(OWNER, ours.bytes()?.into()).await.map_err(told)? {
            Put::Created => return Ok(()),
            // Another came first: it may be this pipeline on another machine, or another pipeline.
            Put::Exists => found = read_owner(store, address).await?,
        }
    }
    match (found, access) {
        (Some(owner), Access::Look) => owner.must_be(&ours, address),
        (Some(owner), Access::Claim) => match owner.joined(ours, address)? {
            Some(owner) => store.put(OWNER, owner.bytes()?.into()).await.map(drop).map_err(told),
            None => Ok(()),
        },
        (None, Access::Look) => Err(no_data(plan, address)),
        (None, Access::Claim) => Err(Error::transient(format!("{OWNER} has just gone from {address}: start again"))),
    }
}
