"""A client of the Container Runtime Interface (runtime.v1), for what its checks use: Debian has none.

The messages are built from a table of their fields, with the numbers of the interface's api.proto; a field that is not in the
table is not read.
"""

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

# Message: field=number[:type]; string without a type; * for a repeated one. The rest are messages of this table.
MESSAGES = """
Int64Value value=1:int64
Label key=1 value=2
VersionRequest version=1
VersionResponse version=1 runtime_name=2 runtime_version=3 runtime_api_version=4
PodSandboxMetadata name=1 uid=2 namespace=3 attempt=4:uint32
NamespaceOption network=1:int32 pid=2:int32 ipc=3:int32 target_id=4
SecurityProfile profile_type=1:int32 localhost_ref=2
LinuxSandboxSecurityContext namespace_options=1:NamespaceOption readonly_rootfs=4:bool privileged=6:bool seccomp=9:SecurityProfile
LinuxPodSandboxConfig cgroup_parent=1 security_context=2:LinuxSandboxSecurityContext sysctls=3:*Label
PodSandboxConfig metadata=1:PodSandboxMetadata hostname=2 log_directory=3 labels=6:*Label linux=8:LinuxPodSandboxConfig
RunPodSandboxRequest config=1:PodSandboxConfig runtime_handler=2
RunPodSandboxResponse pod_sandbox_id=1
StopPodSandboxRequest pod_sandbox_id=1
StopPodSandboxResponse
RemovePodSandboxRequest pod_sandbox_id=1
RemovePodSandboxResponse
PodSandboxStatusRequest pod_sandbox_id=1 verbose=2:bool
PodSandboxStatus id=1 state=3:int32
PodSandboxStatusResponse status=1:PodSandboxStatus
ListPodSandboxRequest
PodSandbox id=1 metadata=2:PodSandboxMetadata state=3:int32
ListPodSandboxResponse items=1:*PodSandbox
ContainerMetadata name=1 attempt=2:uint32
ImageSpec image=1
Mount container_path=1 host_path=2 readonly=3:bool propagation=5:int32
Device container_path=1 host_path=2 permissions=3
LinuxContainerResources cpu_period=1:int64 cpu_quota=2:int64 cpu_shares=3:int64 memory_limit_in_bytes=4:int64 oom_score_adj=5:int64 cpuset_cpus=6
Capability add_capabilities=1:* drop_capabilities=2:*
LinuxContainerSecurityContext capabilities=1:Capability privileged=2:bool namespace_options=3:NamespaceOption run_as_user=5:Int64Value \
 readonly_rootfs=7:bool supplemental_groups=8:*int64 no_new_privs=11:bool run_as_group=12:Int64Value masked_paths=13:* readonly_paths=14:* \
 seccomp=15:SecurityProfile
LinuxContainerConfig resources=1:LinuxContainerResources security_context=2:LinuxContainerSecurityContext
ContainerConfig metadata=1:ContainerMetadata image=2:ImageSpec command=3:* args=4:* working_dir=5 envs=6:*Label mounts=7:*Mount \
 devices=8:*Device log_path=11 stdin=12:bool tty=14:bool linux=15:LinuxContainerConfig
CreateContainerRequest pod_sandbox_id=1 config=2:ContainerConfig sandbox_config=3:PodSandboxConfig
CreateContainerResponse container_id=1
StartContainerRequest container_id=1
StartContainerResponse
StopContainerRequest container_id=1 timeout=2:int64
StopContainerResponse
RemoveContainerRequest container_id=1
RemoveContainerResponse
ContainerStatusRequest container_id=1 verbose=2:bool
ContainerStatus id=1 state=3:int32 exit_code=7:int32 reason=10 message=11
ContainerStatusResponse status=1:ContainerStatus info=2:*Label
UpdateContainerResourcesRequest container_id=1 linux=2:LinuxContainerResources
UpdateContainerResourcesResponse
ExecSyncRequest container_id=1 cmd=2:* timeout=3:int64
ExecSyncResponse stdout=1:bytes stderr=2:bytes exit_code=3:int32
ContainerStatsRequest container_id=1
UInt64Value value=1:uint64
MemoryUsage timestamp=1:int64 working_set_bytes=2:UInt64Value
ContainerStats memory=3:MemoryUsage
ContainerStatsResponse stats=1:ContainerStats
"""


def _messages():
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {"": field.TYPE_STRING, "bool": field.TYPE_BOOL, "bytes": field.TYPE_BYTES, "int32": field.TYPE_INT32,
               "int64": field.TYPE_INT64, "uint32": field.TYPE_UINT32, "uint64": field.TYPE_UINT64}
    file = descriptor_pb2.FileDescriptorProto(name="checks", package="checks", syntax="proto3")
    for line in MESSAGES.replace("\\\n", "").splitlines():
        if not line:
            continue
        name, *fields = line.split()
        message = file.message_type.add(name=name)
        for text in fields:
            label, number = text.split("=")
            number, _, kind = number.partition(":")
            added = message.field.add(name=label, number=int(number))
            added.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            kind = kind.lstrip("*")
            if kind in scalars:
                added.type = scalars[kind]
            else:
                added.type, added.type_name = field.TYPE_MESSAGE, ".checks." + kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {message.name: factory.GetPrototype(pool.FindMessageTypeByName("checks." + message.name)) for message in file.message_type}


class Client:
    """Calls of the runtime service: `client.RunPodSandbox(config={...})` gives the response as a message."""

    def __init__(self, socket):
        self.channel = grpc.insecure_channel("unix://" + socket)
        self.messages = _messages()

    def __getattr__(self, method):
        request, response = self.messages[method + "Request"], self.messages[method + "Response"]
        call = self.channel.unary_unary("/runtime.v1.RuntimeService/" + method,
                                        request_serializer=request.SerializeToString, response_deserializer=response.FromString)

        def with_fields(**fields):
            return call(json_format.ParseDict(fields, request()), timeout=60)
        return with_fields
