//! S3 as object_store has it, with errors that hold no secret and uploads that are taken back where nobody finishes
//! them: for us, and for readers and writers that go past `Store`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::super::upload::TakenBack;
use super::credentials::ChainCredentials;
use super::refusal::{refuses_credentials, told};

/// A bucket, and the credentials that it is asked with.
#[derive(Debug)]
pub(super) struct S3Objects {
    bucket: AmazonS3,
    credentials: Arc<ChainCredentials>,
}

impl S3Objects {
    pub(super) fn new(bucket: AmazonS3, credentials: Arc<ChainCredentials>) -> Self {
        Self { bucket, credentials }
    }

    fn told(&self, error: Error) -> Error {
        told_of(&self.credentials, error)
    }
}

/// The error as it may be told; credentials that it refuses are dropped.
fn told_of(credentials: &ChainCredentials, error: Error) -> Error {
    let error = told(error);
    if refuses_credentials(&error) {
        credentials.refused();
    }
    error
}

impl fmt::Display for S3Objects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.fmt(formatter)
    }
}

#[async_trait]
impl ObjectStore for S3Objects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.bucket.put_opts(location, payload, options).await.map_err(|error| self.told(error))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.bucket.put_multipart_opts(location, options).await.map_err(|error| self.told(error))?;
        Ok(Box::new(Upload { upload: TakenBack::new(upload), credentials: Arc::clone(&self.credentials) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.bucket.get_opts(location, options).await.map_err(|error| self.told(error))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.bucket.get_ranges(location, ranges).await.map_err(|error| self.told(error))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let credentials = Arc::clone(&self.credentials);
        self.bucket.delete_stream(locations).map_err(move |error| told_of(&credentials, error)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let credentials = Arc::clone(&self.credentials);
        self.bucket.list(prefix).map_err(move |error| told_of(&credentials, error)).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let credentials = Arc::clone(&self.credentials);
        self.bucket.list_with_offset(prefix, offset).map_err(move |error| told_of(&credentials, error)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.bucket.list_with_delimiter(prefix).await.map_err(|error| self.told(error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.bucket.copy_opts(from, to, options).await.map_err(|error| self.told(error))
    }
}

#[derive(Debug)]
struct Upload {
    upload: TakenBack,
    credentials: Arc<ChainCredentials>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let credentials = Arc::clone(&self.credentials);
        Box::pin(self.upload.put_part(data).map_err(move |error| told_of(&credentials, error)))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await.map_err(|error| told_of(&self.credentials, error))
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await.map_err(|error| told_of(&self.credentials, error))
    }
}
