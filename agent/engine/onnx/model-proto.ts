/** The part of ONNX's protobuf schema (onnx/onnx.proto, IR version 10) that our graphs use, and its encoder. */
import protobuf from 'protobufjs'

const schema = `
syntax = "proto2";
package onnx;
message AttributeProto { optional string name = 1; optional float f = 2; optional int64 i = 3; optional bytes s = 4; optional GraphProto g = 6; repeated float floats = 7; repeated int64 ints = 8; optional int32 type = 20; }
message ValueInfoProto { optional string name = 1; optional TypeProto type = 2; }
message NodeProto { repeated string input = 1; repeated string output = 2; optional string name = 3; optional string op_type = 4; repeated AttributeProto attribute = 5; optional string domain = 7; }
message ModelProto { optional int64 ir_version = 1; optional string producer_name = 2; optional GraphProto graph = 7; repeated OperatorSetIdProto opset_import = 8; }
message GraphProto { repeated NodeProto node = 1; optional string name = 2; repeated TensorProto initializer = 5; repeated ValueInfoProto input = 11; repeated ValueInfoProto output = 12; }
message StringStringEntryProto { optional string key = 1; optional string value = 2; }
message TensorProto { repeated int64 dims = 1; optional int32 data_type = 2; optional string name = 8; optional bytes raw_data = 9; repeated StringStringEntryProto external_data = 13; optional int32 data_location = 14; }
message TensorShapeProto { message Dimension { optional int64 dim_value = 1; optional string dim_param = 2; } repeated Dimension dim = 1; }
message TypeProto { message Tensor { optional int32 elem_type = 1; optional TensorShapeProto shape = 2; } optional Tensor tensor_type = 1; }
message OperatorSetIdProto { optional string domain = 1; optional int64 version = 2; }
`

const modelType = protobuf.parse(schema, { keepCase: true }).root.lookupType('onnx.ModelProto')

/** `TensorProto.DataType` */
export const elementTypes = { f32: 1, u8: 2, i32: 6, i64: 7, f16: 10 } as const
export type ElementType = keyof typeof elementTypes

/** `AttributeProto.AttributeType` */
const attributeTypes = { float: 1, int: 2, string: 3, graph: 5, ints: 7 } as const

export interface Attribute {
  readonly name: string
  readonly type: number
  readonly f?: number
  readonly i?: number
  readonly s?: Uint8Array
  readonly g?: Graph
  readonly ints?: readonly number[]
}

/** Attribute values: the kind is explicit, because ONNX refuses an integer where it wants a float. */
export type AttributeValue =
  | { readonly float: number }
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly graph: Graph }

export interface Node {
  readonly op_type: string
  readonly domain: string
  readonly name: string
  readonly input: readonly string[]
  readonly output: readonly string[]
  readonly attribute: readonly Attribute[]
}

export interface ValueInfo {
  readonly name: string
  readonly type: object
}

export interface Initializer {
  readonly name: string
  readonly data_type: number
  readonly dims: readonly number[]
  readonly raw_data?: Uint8Array
  readonly external_data?: readonly { readonly key: string; readonly value: string }[]
  readonly data_location?: number
}

export interface Graph {
  readonly name: string
  readonly node: readonly Node[]
  readonly initializer?: readonly Initializer[]
  readonly input?: readonly ValueInfo[]
  readonly output: readonly ValueInfo[]
}

const attribute = (name: string, value: AttributeValue): Attribute => {
  if ('float' in value) return { name, type: attributeTypes.float, f: value.float }
  if ('int' in value) return { name, type: attributeTypes.int, i: value.int }
  if ('ints' in value) return { name, type: attributeTypes.ints, ints: value.ints }
  return { name, type: attributeTypes.graph, g: value.graph }
}

const makeNode =
  (domain: string) =>
  (
    op: string,
    input: readonly string[],
    output: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
  ): Node => ({
    op_type: op,
    domain,
    name: `${op}_${output[0]}`,
    input,
    output,
    attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
  })

/** A node of the standard operator set. */
export const node = makeNode('')
/** A node of ONNX Runtime's own operator set, `com.microsoft`. */
export const microsoft = makeNode('com.microsoft')

/** A graph input or output; a dimension given as text is free. */
export const value = (name: string, type: ElementType, dims: readonly (number | string)[]): ValueInfo => ({
  name,
  type: {
    tensor_type: {
      elem_type: elementTypes[type],
      shape: { dim: dims.map((dim) => (typeof dim === 'number' ? { dim_value: dim } : { dim_param: dim })) },
    },
  },
})

/** A small constant, held in the graph itself. */
export const constant = (
  name: string,
  type: ElementType,
  dims: readonly number[],
  data: Float32Array | BigInt64Array,
): Initializer => ({
  name,
  data_type: elementTypes[type],
  dims,
  raw_data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
})

/** A weight that ONNX Runtime maps from a file beside the model. */
export const external = (
  name: string,
  type: ElementType,
  dims: readonly number[],
  at: { readonly file: string; readonly offset: number; readonly length: number },
): Initializer => ({
  name,
  data_type: elementTypes[type],
  dims,
  data_location: 1,
  external_data: [
    { key: 'location', value: at.file },
    { key: 'offset', value: String(at.offset) },
    { key: 'length', value: String(at.length) },
  ],
})

/** Bytes of a model file. */
export const encodeModel = (graph: Graph): Uint8Array =>
  modelType
    .encode(
      modelType.fromObject({
        ir_version: 10,
        producer_name: 'meshnet',
        graph,
        opset_import: [
          { domain: '', version: 21 },
          { domain: 'com.microsoft', version: 1 },
        ],
      }),
    )
    .finish()
