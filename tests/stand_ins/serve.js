// serve.js PROGRAM: runs a server's program on loopback until stdin ends, as it does when whoever started it is gone.
'use strict';

const net = require('node:net');
const path = require('node:path');

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (where, ...rest) {
  if (where !== null && typeof where === 'object') return listen.call(this, { ...where, host: '127.0.0.1' }, ...rest);
  const others = rest.filter((argument) => typeof argument !== 'string');
  return listen.call(this, where, '127.0.0.1', ...others);
};

process.stdin.on('end', () => process.exit(0)).on('error', () => process.exit(0)).resume();
process.argv.splice(1, 1);
process.argv[1] = path.resolve(process.argv[1]);
process.chdir(path.dirname(process.argv[1]));
require(process.argv[1]);
