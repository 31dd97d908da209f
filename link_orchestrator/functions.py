import azure.durable_functions as df


def blueprint(edge):
    return df.Blueprint()
