;; A wasi:http component that answers every request with 200 and nothing: what `bench start` runs
;; under `wasmtime serve`. Written by hand, so that no further toolchain is needed.
(component
  ;; The part of wasi:http/types that it uses. Types must be those of the interface, so the error
  ;; codes are listed though none is ever sent.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type $incoming-request (sub resource)))
    (export "outgoing-response" (type $outgoing-response (sub resource)))
    (export "response-outparam" (type $response-outparam (sub resource)))
    (type $dns' (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns (eq $dns')))
    (type $tls' (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls (eq $tls')))
    (type $size' (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $size (eq $size')))
    (type $error-code' (variant
      (case "DNS-timeout")
      (case "DNS-error" $dns)
      (case "destination-not-found")
      (case "destination-unavailable")
      (case "destination-IP-prohibited")
      (case "destination-IP-unroutable")
      (case "connection-refused")
      (case "connection-terminated")
      (case "connection-timeout")
      (case "connection-read-timeout")
      (case "connection-write-timeout")
      (case "connection-limit-reached")
      (case "TLS-protocol-error")
      (case "TLS-certificate-error")
      (case "TLS-alert-received" $tls)
      (case "HTTP-request-denied")
      (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64))
      (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid")
      (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $size))
      (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $size)
      (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $size)
      (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32))
      (case "HTTP-response-trailer-size" $size)
      (case "HTTP-response-transfer-coding" (option string))
      (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed")
      (case "HTTP-protocol-error")
      (case "loop-detected")
      (case "configuration-error")
      (case "internal-error" (option string))))
    (export "error-code" (type $error-code (eq $error-code')))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-response"
      (func (param "headers" (own $fields)) (result (own $outgoing-response))))
    (export "[static]response-outparam.set"
      (func
        (param "param" (own $response-outparam))
        (param "response" (result (own $outgoing-response) (error $error-code)))))))

  (alias export $types "incoming-request" (type $incoming-request))
  (alias export $types "response-outparam" (type $response-outparam))

  (core module $Memory (memory (export "memory") 1)
    ;; Nothing is ever allocated: no text goes in. The canonical ABI asks for it all the same.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $memory (instantiate $Memory))
  (core func $new-fields (canon lower (func $types "[constructor]fields")))
  (core func $new-response (canon lower (func $types "[constructor]outgoing-response")))
  (core func $set-response (canon lower (func $types "[static]response-outparam.set")
    (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core func $drop-request (canon resource.drop $incoming-request))

  (core module $Main
    (import "http" "new-fields" (func $new-fields (result i32)))
    (import "http" "new-response" (func $new-response (param i32) (result i32)))
    (import "http" "set-response"
      (func $set-response (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "http" "drop-request" (func $drop-request (param i32)))
    (func (export "handle") (param $request i32) (param $out i32)
      (call $drop-request (local.get $request))
      (call $set-response
        (local.get $out)
        (i32.const 0) ;; ok
        (call $new-response (call $new-fields))
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
  (core instance $main (instantiate $Main
    (with "http" (instance
      (export "new-fields" (func $new-fields))
      (export "new-response" (func $new-response))
      (export "set-response" (func $set-response))
      (export "drop-request" (func $drop-request))))))

  (func $handle
    (param "request" (own $incoming-request))
    (param "response-out" (own $response-outparam))
    (canon lift (core func $main "handle")))

  ;; The exported interface refers to the same resources; an instance made of it carries them.
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
