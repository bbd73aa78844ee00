// What the npm package mailauth signs, seals and finds.  Reads one JSON object of standard input:
//   {"do": "make", "now": seconds, "keys": [{"domain", "selector", "algorithm", "pem", "record"}],
//    "messages": [..]}     -> the messages, signed by each key, then sealed by each RSA key in turn
//   {"do": "check", "records": {name: text}, "messages": [..]}    -> what it finds of each
// Run where the package is installed: node peer.js <request.json
'use strict';

const { createRequire } = require('node:module');
const { authenticate, dkimSign } = createRequire(process.cwd() + '/')('mailauth');

const resolver = records => async (name, type) => {
    if (type === 'TXT' && records[name]) {
        return [[records[name]]];
    }
    throw Object.assign(new Error(`no ${type} of ${name}`), { code: 'ENOTFOUND' });
};

const options = records => ({
    ip: '192.0.2.1',
    helo: 'client.test',
    sender: 'a@d.test',
    mta: 'npm.test',
    resolver: resolver(records),
    disableBimi: true
});

const sealed = async (message, key, request, records) => {
    const seal = {
        signingDomain: key.domain,
        selector: key.selector,
        privateKey: key.pem,
        algorithm: key.algorithm,
        signTime: new Date(request.now * 1000)
    };
    const { headers } = await authenticate(Buffer.from(message), { ...options(records), seal });
    return headers + message;
};

const made = async request => {
    const records = Object.fromEntries(
        request.keys.map(key => [`${key.selector}._domainkey.${key.domain}`, key.record])
    );
    const messages = [];
    for (const original of request.messages) {
        const one = [];
        let message = original;
        for (const key of request.keys) {
            for (const canonicalization of ['relaxed/relaxed', 'simple/simple']) {
                const { signatures, errors } = await dkimSign(Buffer.from(original), {
                    canonicalization,
                    signTime: new Date(request.now * 1000),
                    signatureData: [
                        {
                            signingDomain: key.domain,
                            selector: key.selector,
                            privateKey: key.pem,
                            algorithm: key.algorithm
                        }
                    ]
                });
                if (errors.length) {
                    throw errors[0].err;
                }
                message = signatures + message;
            }
        }
        one.push(message);
        for (const key of request.keys.filter(key => key.algorithm === 'rsa-sha256')) {
            message = await sealed(message, key, request, records);
            one.push(message);
        }
        messages.push(one);
    }
    return { records, messages };
};

const checked = async request =>
    Promise.all(
        request.messages.map(async message => {
            const found = await authenticate(Buffer.from(message), options(request.records));
            return {
                dkim: found.dkim.results.map(one => one.status.result),
                arc: found.arc.status.result
            };
        })
    );

const chunks = [];
process.stdin.on('data', chunk => chunks.push(chunk));
process.stdin.on('end', async () => {
    const request = JSON.parse(Buffer.concat(chunks));
    const answer = request.do === 'make' ? await made(request) : await checked(request);
    process.stdout.write(JSON.stringify(answer, null, 1));
});
