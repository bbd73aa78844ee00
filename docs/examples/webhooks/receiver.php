<?php
// Takes signed webhook calls, with nothing but what PHP has.
//
//     WEBHOOK_SECRET=whsec_... php -S 127.0.0.1:8025 receiver.php

const TOLERANCE = 5 * 60; // seconds: of an older call somebody may have kept a copy

// What a call says; an exception when it is not mailrelay's, or not of now.
// $body is what came, byte for byte.
function verify(string $secret, array $headers, string $body): array
{
    $id = $headers['webhook-id'] ?? '';
    $timestamp = $headers['webhook-timestamp'] ?? '';
    if (!preg_match('/^[0-9]{1,12}$/D', $timestamp)) {
        throw new UnexpectedValueException('there is no timestamp');
    }
    if (abs(time() - (int) $timestamp) > TOLERANCE) {
        throw new UnexpectedValueException('the timestamp is not of now');
    }
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
    $expected = base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    // While a secret is replaced there are several: one that fits is enough.
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $given) {
        if (hash_equals("v1,$expected", $given)) {
            return json_decode($body, true, 512, JSON_THROW_ON_ERROR);
        }
    }
    throw new UnexpectedValueException('no signature fits');
}

$headers = array_change_key_case(getallheaders());
try {
    $told = verify(getenv('WEBHOOK_SECRET'), $headers, file_get_contents('php://input'));
} catch (UnexpectedValueException $error) {
    http_response_code(401);
    echo $error->getMessage(), "\n";
    return;
}
// Here: if this id was seen before, do nothing.
error_log("{$told['type']} {$headers['webhook-id']}");
// Any 2xx takes the call; after anything else it is made again.
http_response_code(204);
